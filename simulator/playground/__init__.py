"""make playground: a simulated pool, the service on its hosts, and a shell to try both in."""
