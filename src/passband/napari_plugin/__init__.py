"""The same in napari: reading micrographs with their scale, a panel that segments and judges, labels with their scale on disk."""
