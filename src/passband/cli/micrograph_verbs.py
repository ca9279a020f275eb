"""The verbs at the microscope: estimate, segment, check; parsing and printing only."""

import shlex
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import print_json, show
from passband.cli.ctf_verbs import read_condition
from passband.cli.options import Dose, Energy, Frames, Images, Json, ModelArgument, PixelSize, option


def estimate(
    images: Images,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    spherical: Annotated[float, Option("--C30", help="Spherical aberration [Å], if known.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Estimate defocus, astigmatism and information limit of micrographs from their power spectrum.

    The exit code is 1 if a defocus cannot be estimated.

    Example:  passband estimate image.dm4
    """
    from passband.estimation.estimate import estimate as estimated

    answers = []
    for micrograph in _read(images, pixel_size, energy, dose, frames):
        result = estimated(micrograph, C30=spherical)
        answers.append({"image": micrograph.name, "found": list(micrograph.notes), **result.to_dict()})
        if not as_json:
            show(f"{micrograph}\n{indent(str(result), '  ')}")
    if as_json:
        print_json({"images": answers})
    raise typer.Exit(0 if all(a["defocus_angstrom"] is not None for a in answers) else 1)


def segment(
    model: ModelArgument,
    images: Images,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    out: Annotated[Path, Option(help="Folder of the results.")] = Path("segmented"),
    as_json: Json = False,
) -> None:
    """Mark the particles in micrographs: masks, probabilities, an overlay, a table of particles and their sizes.

    Example:  passband segment au-300kv image.dm4
    """
    from passband.models import outputs
    from passband.models.segment import check_fits
    from passband.models.segment import segment as segmented
    from passband.models.store import load_model

    chosen = load_model(model)
    read = []
    unique = list({path.resolve(): path for path in images}.values())
    for path, place in zip(unique, outputs.places(unique), strict=True):
        micrographs = _read([path], pixel_size, energy, dose, frames)
        for i, micrograph in enumerate(micrographs):
            check_fits(micrograph, chosen.card)
            frame = "" if len(micrographs) == 1 else f"{i:04d}"
            made_by = outputs.origin(chosen.card, path, frame)
            name = f"{place.name}_{frame}" if frame else place.name
            read.append((place.with_name(name), micrograph, made_by))
    placed = [(outputs.free_place(out, place, made_by), micrograph, made_by) for place, micrograph, made_by in read]
    answers = []
    for place, micrograph, made_by in placed:
        with TerminalProgress() as progress:
            result = segmented(chosen, micrograph, progress=_Tiles(progress, micrograph.name))
        files = outputs.write_outputs(place, result, made_by)
        answers.append(result.to_dict() | {"files": files})
        if not as_json:
            beside = "and beside it mask, probability, table, sizes and record"
            show(f"{micrograph}\n  {result}\n  {files['overlay']} {beside}")
    if as_json:
        print_json({"model": chosen.card.name, "images": answers})
    else:
        size = "" if pixel_size is None else f" --pixel-size {pixel_size:g}"
        show(f"Does the model work here? passband check {model} {shlex.quote(str(images[0]))}{size}")


class _Tiles:
    """Shows finished tiles as a stage of a progress bar."""

    def __init__(self, progress: Any, name: str):
        self._progress, self._name, self._done = progress, name, 0
        self._advance: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._advance is None:
            self._advance = self._progress.stage(f"{self._name}: tiles", total, 0)
        if done > self._done:
            self._advance(done - self._done)
            self._done = done


def check(
    model: ModelArgument,
    images: Annotated[list[Path] | None, Argument(metavar="IMAGE", help="Micrographs.")] = None,
    condition: Annotated[Path | None, Option(help="A condition file or preset, instead of images.")] = None,
    image: Annotated[Path | None, Option(help="The same as IMAGE.")] = None,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    element: Annotated[list[str] | None, Option(help="Element of the particles; may be repeated.")] = None,
    support: Annotated[str | None, Option(help="Material of the support: carbon, silica, …, none.")] = None,
    thickness: Annotated[float | None, Option(help="Thickness of the support [Å].")] = None,
    diameter: Annotated[float | None, Option(help="Diameter of the particles [Å].")] = None,
    as_json: Json = False,
) -> None:
    """Predict whether a model works under a condition or on a micrograph: loss and Dice with intervals, zone, reasons, advice.

    Unknown facts of the specimen are assumed to be as in the calibration. The exit code is 1 if the answer is no or cannot say.

    Example:  passband check au-300kv --condition microscope.yaml
    """
    from passband.models.store import load_model
    from passband.verdicts.domain import SpecimenInfo
    from passband.verdicts.verdict_model import VerdictModel

    images = [*(images or []), *([] if image is None else [image])]
    if (condition is None) == (not images):
        raise BadInputError("give either --condition or images, and not both")
    of_image = {"--pixel-size": pixel_size, "--energy": energy, "--dose": dose, "--frames": frames}
    given = next((name for name, value in of_image.items() if value is not None), None)
    if condition is not None and given:
        raise BadInputError(f"{given} is of an image; with --condition put it into {condition}")
    chosen = VerdictModel(load_model(model))
    specimen = SpecimenInfo(tuple(element) if element else None, support, thickness, diameter)
    if condition is not None:
        no_notes: list[str] = []
        verdicts = [(str(condition), no_notes, chosen.check(read_condition(condition), specimen))]
    else:
        micrographs = _read(images, pixel_size, energy, dose, frames)
        verdicts = [(m.name, list(m.notes), chosen.check_image(m, specimen)) for m in micrographs]
    answers = {v.answer for *_, v in verdicts}
    worst = next(a for a in ("no", "cannot say", "yes") if a in answers)
    if as_json:
        found = [{"subject": name, "found": notes, **v.to_dict(option)} for name, notes, v in verdicts]
        print_json(found[0] if condition is not None else {"images": found, "answer": worst})
    else:
        for name, notes, verdict in verdicts:
            show("\n  ".join([name, *notes, *verdict.text(option).splitlines()]))
    raise typer.Exit(0 if worst == "yes" else 1)


def _read(
    paths: list[Path], pixel_size: float | None, energy: float | None, dose: float | None, frames: str | None
) -> list[Any]:
    from passband.micrographs.reading import read_micrographs

    wanted: Any = frames
    if frames is not None and frames.isdecimal():
        wanted = int(frames)
    elif frames not in ("sum", "each", None):
        raise BadInputError(f"--frames {frames}: is neither a number nor sum nor each")
    given: dict[str, Any] = {"pixel_size_angstrom": pixel_size, "energy_ev": energy, "dose_per_angstrom2": dose}
    return [micrograph for path in paths for micrograph in read_micrographs(path, frames=wanted, **given)]
