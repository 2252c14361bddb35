"""The files in /run that the daemon shares with the qemu-wrapper."""
