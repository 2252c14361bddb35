"""Verifying each boot: what a QEMU really took, and its receipt."""
