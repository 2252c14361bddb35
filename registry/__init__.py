"""The registry: what the operator decided about vGPU pools and VMs, and the journal beside it.

Everything that knows SQL or SQLite is in here, and nothing in here knows of XAPI.
"""
