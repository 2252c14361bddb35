"""Tests as strangers would write them: the contract, an XAPI of their own, and the programs.

The XAPI here was written from the documents alone, beside `simulator/` and not from it: an
independent witness, as simple as other people's stand-ins are, and odd in as many ways.
"""
