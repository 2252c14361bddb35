"""Bytes on the wire: HTTP, XML-RPC, JSON-RPC, and the codes of failures."""
