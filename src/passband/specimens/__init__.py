"""Specimens: random nanoparticles of many kinds on amorphous films, drawn from a recipe, a seed and an index."""

from passband.specimens.families import GivenRecipe, Recipe, draw_specimen
from passband.specimens.label_recipe import PhaseLabel
from passband.specimens.labels import Labels, make_labels, particle_instances, particle_mask
from passband.specimens.particles import Particle
from passband.specimens.recipes import ParticleRecipe, SpecimenRecipe
from passband.specimens.scene import Specimen
from passband.specimens.substrates import SubstrateRecipe

__all__ = [
    "GivenRecipe",
    "Labels",
    "Particle",
    "ParticleRecipe",
    "PhaseLabel",
    "Recipe",
    "Specimen",
    "SpecimenRecipe",
    "SubstrateRecipe",
    "draw_specimen",
    "make_labels",
    "particle_instances",
    "particle_mask",
]
