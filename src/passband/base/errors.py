"""Exceptions for faults that a user can correct, such as a dependency that is not installed."""

import importlib
import re
import unicodedata
from collections.abc import Callable
from types import ModuleType
from typing import Any

_MARKED = re.compile("\ue000(.*?)\ue001")
#: What helps a worker that has too little memory.
MORE_MEMORY = "use fewer workers, or a computer with more memory"
_NO_MEMORY = re.compile(
    r"(can't|[Cc]annot) allocate memory|[Oo]ut of memory|bad_alloc|failed to map segment|can't start new thread"
)


def parameter(name: str) -> str:
    """Return a parameter's name, marked so that each interface can rename it (see `BadInputError.text`)."""
    return f"\ue000{name}\ue001"


def named(text: str, name: Callable[[str], str] = str) -> str:
    """Return a text with each marked parameter written as `name` writes it; as the Python argument if left out."""
    return _MARKED.sub(lambda match: name(match[1]), text)


def plain(text: object) -> str:
    """Return a text whose control, format and undecodable characters are written as escapes; line breaks and tabs stay.

    File names and what files hold may carry them: a terminal would obey the first and cannot encode the last.
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c
        for c in str(text)
    )


class BadInputError(ValueError):
    """Input that cannot be used.

    The message is one line: `place: what; remedy`. Where it speaks of a parameter, mark its name by `parameter("pixel_size_angstrom")`:
    Python reads `pixel_size_angstrom`, the command line `--pixel-size`, the app the label of the field.

    Attributes:
        what: the fault, with value and limit.
        value: the value at fault, if it is one value.
        limit: the values that are allowed.
        parameters: the parameters that the message speaks of, the first one at fault.
        remedy: what to do.
        place: file, line, or name of the input.
    """

    def __init__(
        self, what: str, *, value: Any = None, limit: Any = None, remedy: str | None = None, place: object = None
    ):
        """Take the parts of the message; `what` alone may be the whole message."""
        super().__init__(what)
        self.what, self.value, self.limit, self.remedy = what, value, limit, remedy
        self.place = None if place is None else str(place)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the message, in order."""
        return tuple(dict.fromkeys(_MARKED.findall(self._whole)))

    @property
    def _whole(self) -> str:
        text = self.what if self.place is None else f"{self.place}: {self.what}"
        return text if self.remedy is None else f"{text}; {self.remedy}"

    def text(self, name: Callable[[str], str] = str) -> str:
        """Return the message with each parameter written as `name` writes it."""
        return named(plain(self._whole), name)

    def __str__(self) -> str:
        return self.text()


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out; PyTorch and the system raise RuntimeError and OSError for it, too."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


class JobFailedError(RuntimeError):
    """One job fails for a reason that another try would not change, given in the message; other jobs continue."""


def require(extra: str, purpose: str, *modules: str) -> ModuleType:
    """Import modules that an extra of pyproject.toml installs, and return the first.

    Raises:
        BadInputError: if one is not installed, saying what needs it (the purpose, such as "the app") and what to install.
    """
    try:
        imported = [importlib.import_module(name) for name in modules]
    except ImportError as error:
        missing = (error.name or modules[0]).partition(".")[0]
        raise BadInputError(
            f"{purpose} needs {missing}, which is not installed", remedy=f"pip install 'passband[{extra}]'"
        ) from None
    return imported[0]
