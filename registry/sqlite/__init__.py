"""Connections to SQLite, and how long they wait for others."""
