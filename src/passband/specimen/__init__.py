"""Specimens: random nanoparticles of many kinds on amorphous films, drawn from a recipe, a seed and an index."""

from passband.specimen.labels import Labels, make_labels, particle_mask
from passband.specimen.particles import Particle
from passband.specimen.recipes import ParticleRecipe, SpecimenRecipe
from passband.specimen.scene import Specimen, draw_specimen
from passband.specimen.substrates import SubstrateRecipe

__all__ = [
    "Labels",
    "Particle",
    "ParticleRecipe",
    "Specimen",
    "SpecimenRecipe",
    "SubstrateRecipe",
    "draw_specimen",
    "make_labels",
    "particle_mask",
]
