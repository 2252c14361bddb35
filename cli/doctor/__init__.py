"""`vgpu-admin doctor`: the checks of a host, of its registry and of XAPI."""
