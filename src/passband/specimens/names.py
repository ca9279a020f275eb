"""Names of elements and supports that users give, with what they may have meant."""

import difflib
from collections.abc import Iterable

from ase.data import atomic_names, atomic_numbers, chemical_symbols

from passband.base.errors import BadInputError, parameter
from passband.specimens.substrates import materials


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of some known names were meant, or all of them if none is close, as the remedy of a message."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(by_lower[c] for c in close)}?"
    return f"give one of {', '.join(by_lower.values())}"


def check_element(symbol: str, name: str = "elements") -> None:
    """Refuse what is no chemical symbol, such as Xx, gold or AU.

    Args:
        symbol: as given.
        name: of the parameter.

    Raises:
        BadInputError: with the symbols that may have been meant.
    """
    if symbol in atomic_numbers and symbol != "X":
        return
    by_name = {n.lower(): s for n, s in zip(atomic_names, chemical_symbols, strict=False)}
    meant = by_name.get(symbol.lower())
    raise BadInputError(
        f"{parameter(name)} {symbol!r} is not a chemical element",
        value=symbol,
        remedy=f"did you mean {meant}?" if meant else nearest(symbol, chemical_symbols[1:104]),
    )


def check_support(material: str, *more: str) -> None:
    """Refuse a support that is neither a material of films, none, nor one of some more.

    Raises:
        BadInputError: with the materials.
    """
    known = [*dict.fromkeys([*materials(), *more, "none"])]
    if material.lower() not in (k.lower() for k in known):
        raise BadInputError(
            f"{parameter('support')} {material!r} is not a known material",
            value=material,
            limit=known,
            remedy=nearest(material, known),
        )
