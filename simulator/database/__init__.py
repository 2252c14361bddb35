"""The rows of XAPI, and the events that follow from their changes."""
