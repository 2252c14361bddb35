"""What is known now: the registry, the VM records, who has which number."""
