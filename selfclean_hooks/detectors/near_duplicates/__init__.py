"""Near duplicates: groups of copies, local scale, pixels, calibration."""
