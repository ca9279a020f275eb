"""Studies: what is trained and tested, and running it."""
