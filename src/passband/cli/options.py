"""Options that all verbs share, and how the command line writes the parameters that the library's messages speak of."""

from typing import Annotated

import typer

#: An option of every verb that answers something.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

#: Where the option is not the parameter without its unit.
_OPTIONS = {
    "elements": "--element",
    "folder": "--out",
    "form": "--format",
}
_UNITS = ("_per_angstrom", "_angstrom", "_ev", "_per_angstrom2", "_mrad", "_rad")


def option(parameter: str) -> str:
    """Return the option of a parameter, such as --pixel-size of pixel_size_angstrom."""
    if parameter in _OPTIONS:
        return _OPTIONS[parameter]
    for unit in _UNITS:
        parameter = parameter.removesuffix(unit)
    return f"--{parameter.replace('_', '-')}"
