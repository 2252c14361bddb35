"""What the daemon counts, and where Prometheus finds it."""
