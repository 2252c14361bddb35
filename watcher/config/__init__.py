"""The configuration file, as checked values."""
