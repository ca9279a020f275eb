"""Micrographs: files of microscopes → images with their metadata."""
