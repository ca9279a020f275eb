"""Verdicts: will this network work under these conditions, on this image; why, and what to do."""
