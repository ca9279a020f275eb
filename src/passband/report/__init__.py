"""Report: figures, each drawn from tables on given axes, and the offline page that holds them."""
