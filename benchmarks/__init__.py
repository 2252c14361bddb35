"""How fast and how small the service is, measured beside the least that could do the same."""
