"""`vgpu-admin consumer`: the qemu-wrapper of this host."""
