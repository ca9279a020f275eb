"""Studies: configuration, jobs, running them, result tables."""
