"""A resource pool of several hosts with one real daemon on each."""
