"""Figures: tables in, one matplotlib axes out; one figure a file."""
