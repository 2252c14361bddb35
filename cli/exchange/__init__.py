"""Files that commands read and write, and their formats."""
