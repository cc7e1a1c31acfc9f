"""From a batch to (B, D) features: modules, callables, precision, random weights."""
