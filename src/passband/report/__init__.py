"""Reports: offline pages made of figures and tables."""
