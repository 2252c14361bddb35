"""The copy of the registry in XAPI's database: signed, compared, rebuilt."""
