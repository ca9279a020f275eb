"""Measures of a trained network on images: curvature of its loss, gradients, predictions; one registry."""
