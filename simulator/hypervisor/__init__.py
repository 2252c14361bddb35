"""What really runs: domains, their arguments, and the files of a host."""
