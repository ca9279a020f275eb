"""Optional dependencies: what needs one says which extra installs it."""

import importlib
from types import ModuleType

from passband.base.errors import BadInputError


def require(extra: str, purpose: str, *modules: str) -> ModuleType:
    """Return the first of some modules, which an extra of passband installs.

    Args:
        extra: name of the extra in pyproject.toml, such as app.
        purpose: what needs it, such as "the app".
        *modules: to import.

    Raises:
        BadInputError: if one is not installed; the message says what to install.

    Example:
        >>> require("app", "an example", "json").__name__
        'json'
    """
    try:
        imported = [importlib.import_module(name) for name in modules]
    except ImportError as error:
        missing = (error.name or modules[0]).partition(".")[0]
        raise BadInputError(
            f"{purpose} needs {missing}, which is not installed", remedy=f"pip install 'passband[{extra}]'"
        ) from None
    return imported[0]
