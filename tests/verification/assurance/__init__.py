"""A long storm of boots and faults over the simulator and the real daemon, and its figures."""
