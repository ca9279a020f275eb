"""Files from elsewhere are parsed in a process with limited memory, time and rights."""
