"""Files: where they lie, how they are written, how they are known to be whole."""
