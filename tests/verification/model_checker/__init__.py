"""A model checker of our own: the real staging and injector against a model of XAPI's start."""
