"""A small honest XAPI, for trying the service without a hypervisor; it imports nothing of ours."""
