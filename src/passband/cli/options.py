"""Options that several verbs share, and how the command line writes the parameters that the library's messages speak of."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.terminal import print_json, show
from passband.micrographs.formats import endings

CORES = len(os.sched_getaffinity(0))
#: Former names of options, which still work.
RENAMED = {"--conditions": "--condition", "--pixel": "--pixel-size"}


def _energy(text: str) -> float:
    """Return an energy in eV from eV or kV, such as 300000, 300kV or 300 keV."""
    match = re.fullmatch(r"\s*(\S+?)\s*(k?e?V)?\s*", text, re.IGNORECASE)
    try:
        return float(match[1]) * (1000 if (match[2] or "").lower().startswith("k") else 1) if match else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no energy; write 300000 (eV) or 300kV") from None


Json = Annotated[bool, Option("--json", help="Print one JSON object on stdout.")]
QMax = Annotated[float, Option(help="Highest spatial frequency that counts [1/Å].")]
Seed = Annotated[int | None, Option(min=0, help="Seed of the specimens, instead of the recipe's.")]
Workers = Annotated[
    int,
    Option(
        min=1, max=1024, help="Processes at once; each takes a core and about 0.7 GB of memory.", show_default="cores"
    ),
]
Memory = Annotated[float, Option(min=0.001, max=10_000, help="Memory for exit waves in each worker [GB].")]
HeldOut = Annotated[float, Option(min=0, max=0.5, help="Share of the conditions held out to evaluate the verdicts.")]

Source = Annotated[
    Path, Argument(metavar="CONDITION", help="A condition file (YAML, STAR or CSV with one row), or a preset by name.")
]
RecipeArgument = Annotated[
    Path, Argument(metavar="RECIPE", help="A recipe of specimens: a YAML file, or a bundled one by name.")
]
ModelArgument = Annotated[
    str, Argument(metavar="MODEL", help="A model by name (`passband model list`), or its folder.")
]
_IMAGES = f"Micrographs ({endings()}), folders, or quoted patterns such as 'session/*.dm4'."
Images = Annotated[list[str], Argument(metavar="IMAGE", help=_IMAGES)]
ImagesOrNone = Annotated[list[str] | None, Argument(metavar="IMAGE", help=_IMAGES)]

LabelledImagesFolder = Annotated[Path | None, Option("--images", help="Folder of labelled micrographs.")]
LabelsFolder = Annotated[Path | None, Option("--masks", help="Folder of their masks, with the images' names.")]

PixelSize = Annotated[float | None, Option(help="Pixel size [Å], if the file lacks it or has it wrong.")]
Energy = Annotated[
    float | None,
    Option(parser=_energy, metavar="<eV>", help="Electron energy, such as 300000 or 300kV, if the file lacks it."),
]
Dose = Annotated[float | None, Option(help="Dose in e/Å², if the file lacks it.")]
ElementsOfLattices = Annotated[
    list[str] | None,
    Option("--element", help="Element of the particles, such as Au, to name their lattice spacings; may be repeated."),
]
Elements = Annotated[
    list[str] | None, Option("--element", help="Element of the particles, such as Au; may be repeated.")
]
SegmentedOut = Annotated[Path, Option("--out", help="Folder of the results.")]
Frames = Annotated[
    str | None,
    Option(
        help="Frames of a stack: a number, sum, or each.",
        show_default="movies are summed, other stacks taken image by image",
    ),
]

# Where the option is not the parameter without its unit.
_OPTIONS = {
    "conditions": "--condition",
    "elements": "--element",
    "folder": "--out",
    "form": "--format",
    "frame_seconds": "--frame-time",
    "group": "--fleet",
}


def option(parameter: str) -> str:
    """Return the option of a parameter, such as --pixel-size of pixel_size_angstrom."""
    plain = re.sub("(_per)?_angstrom2?$|_(ev|mrad|rad)$", "", parameter)
    return _OPTIONS.get(parameter, f"--{plain.replace('_', '-')}")


def limits(name: str, text: str, example: str) -> tuple[float, float]:
    """Return the two numbers of LOW:HIGH that an option was given."""
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise BadInputError(f"{name} {text}: is not LOW:HIGH, such as {example}") from None


def print_answer(answer: Any, as_json: bool, text: str | None = None) -> None:
    """Print an answer: as JSON, or its own text, or the one that is given."""
    if as_json:
        print_json(answer if isinstance(answer, dict) else answer.to_dict())
    else:
        show(answer if text is None else text)
