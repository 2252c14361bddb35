"""Talking to XAPI: connections, sessions, calls and the event stream."""
