"""Whether it is still the same data set: digests of its contents and its structure."""
