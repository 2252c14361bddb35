"""`make demo`: a simulated pool goes through every hazard, with a verdict per boot."""
