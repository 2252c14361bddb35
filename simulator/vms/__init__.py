"""VM operations, write by write."""
