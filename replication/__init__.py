"""The results of passband: the source's experiments and checks, each from its study's tables to a page."""
