"""Label errors of other labels than one class a sample: several labels, and regression targets."""
