"""What SOURCE on the command line can be, each opened as a data set."""
