"""One VM: its record, its arguments and the decision about it. Pure: no clock, no I/O."""
