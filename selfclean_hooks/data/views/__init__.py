"""The data set as an audit reads it: without augmentation, unchanged, opened once."""
