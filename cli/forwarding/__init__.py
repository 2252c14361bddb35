"""Running a command on the master of the pool."""
