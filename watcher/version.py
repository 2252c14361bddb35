"""The version of everything in this repository, and the name that we give to others."""

VERSION = '0.2.0'
# XAPI 26.17 and later can limit callers; a recognisable user agent tells its operator whom.
USER_AGENT = f'vgpu-watcher/{VERSION}'
