"""A part of a source with some labels corrected, in the form that the source came in: a module for each form."""
