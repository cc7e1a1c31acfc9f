"""What a person sees of a sample: a thumbnail, or a preview of text, a curve or a table row."""
