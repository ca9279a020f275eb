"""Specimens: random nanoparticles of many kinds on amorphous films, drawn from a recipe, a seed and an index."""

from passband.specimen.families import Recipe, draw_specimen
from passband.specimen.given import GivenRecipe
from passband.specimen.labels import Labels, make_labels, particle_mask
from passband.specimen.particles import Particle
from passband.specimen.recipes import ParticleRecipe, SpecimenRecipe
from passband.specimen.scene import Specimen
from passband.specimen.substrates import SubstrateRecipe

__all__ = [
    "GivenRecipe",
    "Labels",
    "Particle",
    "ParticleRecipe",
    "Recipe",
    "Specimen",
    "SpecimenRecipe",
    "SubstrateRecipe",
    "draw_specimen",
    "make_labels",
    "particle_mask",
]
