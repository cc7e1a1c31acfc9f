"""Everything that is read from outside, changed at random: the outcome is a result or one of our errors."""
