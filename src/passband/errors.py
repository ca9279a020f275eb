"""The one exception for what a user can mend."""


class BadInputError(ValueError):
    """Input that cannot be worked with: the message gives value, limit, remedy and place in one line."""
