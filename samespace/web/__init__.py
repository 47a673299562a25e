"""A library in a browser, on the person's own machine: review duplicates, search, scan."""
