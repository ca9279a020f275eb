"""Many micrographs: which files, the work on each, their table, their contact sheet."""
