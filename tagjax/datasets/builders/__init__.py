"""The builders of the data sets, one a file."""
