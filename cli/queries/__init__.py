"""What a command asks before it acts: XAPI, the daemon, the mirror, other hosts."""
