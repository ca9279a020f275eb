"""Micrographs: files of microscopes → images with what is known of them."""
