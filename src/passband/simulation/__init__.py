"""Simulation: atoms → exit wave → image."""
