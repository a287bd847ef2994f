"""Mistakes of the caller, told in one line."""


class InputError(ValueError):
    """Bad input: one line that names the input and the remedy. Commands exit 2 on it."""
