"""SameSpace tells whether two photos show the same space."""

__version__ = "0.1.0"
