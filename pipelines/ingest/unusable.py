"""The error of an input that is whole, and that cannot be used all the same."""


class UnusableInputError(ValueError):
    """An input that is whole, but that nobody can say how to read; the message begins with its kind and a colon."""
