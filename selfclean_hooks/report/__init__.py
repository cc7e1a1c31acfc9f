"""Reports: each a function of an Audit."""
