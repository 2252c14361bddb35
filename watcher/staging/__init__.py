"""Bringing each VM to its plan: the writes to XAPI, the review of VMs, the scan."""
