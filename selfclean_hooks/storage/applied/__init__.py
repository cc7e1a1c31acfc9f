"""The data set that an audit leaves: the audited source without what is dropped, with corrected labels."""
