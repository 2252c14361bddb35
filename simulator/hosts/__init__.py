"""Pools of several hosts: masters, members, splits and upgrades."""
