"""What people and programs see: text, tables, JSON."""
