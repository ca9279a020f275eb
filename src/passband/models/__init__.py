"""Models: a trained network on disk, running it, exchanging it with other programs."""
