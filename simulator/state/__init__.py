"""One pool put together."""
