"""Proof that all our SQL runs on SQLite 3.7.17, the one in dom0."""
