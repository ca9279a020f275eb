"""Figures: tables in, one matplotlib axes out; one subject a file. The text of each `draw` names the columns of its table."""
