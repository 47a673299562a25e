"""The one exception a person is meant to read."""


class SameSpaceError(Exception):
    """A mistake a person can mend: its message names the thing at fault and says what to do."""
