"""Estimation: a micrograph's spectrum → its defocus, astigmatism and resolution."""
