"""The one exception for what a user can mend."""


class BadInputError(ValueError):
    """Input that cannot be worked with: the message gives value, limit, remedy and place in one line."""


class CellFailedError(RuntimeError):
    """One cell cannot be made, and to try again would be in vain; the message says why. The others go on."""
