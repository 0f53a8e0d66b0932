"""Public data sets into frame tables: one module each, `registry.py` has their names."""
