"""The command line: read what was typed, call the library, print."""
