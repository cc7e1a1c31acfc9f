"""The margins of samples in training, recorded for the label scores of later audits."""
