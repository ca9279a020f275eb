"""Specimens: facetted nanoparticles on amorphous carbon, drawn from a recipe and a seed."""

from passband.specimen.labels import particle_mask
from passband.specimen.recipes import ParticleRecipe, SpecimenRecipe, SubstrateRecipe
from passband.specimen.scene import Specimen, draw_specimen

__all__ = ["ParticleRecipe", "Specimen", "SpecimenRecipe", "SubstrateRecipe", "draw_specimen", "particle_mask"]
