"""The XAPI plugin `vgpu-watcher`."""
