"""Files from elsewhere are parsed in a limited process of its own."""
