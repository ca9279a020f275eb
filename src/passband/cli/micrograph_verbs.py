"""The verbs at the microscope: estimate, segment, check; parsing and printing only."""

import shlex
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, NoReturn

import typer
from typer import Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import note, print_json, show
from passband.cli.ctf_verbs import read_labelled
from passband.cli.options import (
    CORES,
    Dose,
    Elements,
    ElementsOfLattices,
    Energy,
    Frames,
    Images,
    ImagesOrNone,
    Json,
    ModelArgument,
    PixelSize,
    SegmentedOut,
    Workers,
    option,
    print_answer,
)


def _out(default: str) -> Any:
    return Option("--out", help="Folder of the results of several images.", show_default=default)


def estimate(
    images: Images,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    spherical: Annotated[float, Option("--C30", help="Spherical aberration Cs [Å], if known; 1 mm is 1e7 Å.")] = 0.0,
    out: Annotated[Path | None, _out("estimated")] = None,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Estimate defocus, astigmatism and information limit of micrographs from their power spectrum.

    Several images get a table and a contact sheet; a stopped run can be resumed.

    The exit code is 1 if a defocus cannot be estimated or an image cannot be used, and 2 if none can.

    Example:  passband estimate image.dm4
    """
    from passband.estimation.estimate import estimate as estimated
    from passband.sessions.image_files import find_images

    given, wanted = calibration_of(pixel_size, energy, dose), frames_of(frames)
    place = out or Path("estimated")
    files = find_images(images, place)
    if files.searched or len(files.paths) > 1 or out is not None:
        from passband.sessions.image_job import Settings

        of_all: dict[str, Any] = {"given": given, "frames": wanted, "spherical_angstrom": spherical}
        _run(files, workers, as_json, Settings.of("estimate", place, None, **of_all))
    answers = []
    for micrograph in _read(files.paths[0], given, wanted):
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
    element: ElementsOfLattices = None,
    out: SegmentedOut = Path("segmented"),
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Mark the particles in micrographs: masks, regions, an overlay, a table of particles, their sizes and lattice spacings.

    Several images get verdicts and optics, too, and one table and contact sheet; a stopped run can be resumed.

    The exit code for several images is 1 if an answer is no or cannot say or an image cannot be used, and 2 if none can.

    Example:  passband segment au-300kv session/
    """
    from passband.models import outputs
    from passband.models.segment import check_fits, known_crystals
    from passband.models.segment import segment as segmented
    from passband.models.store import SEGMENTING, load_model, require_task
    from passband.sessions.image_files import find_images

    chosen, given, wanted = load_model(model), calibration_of(pixel_size, energy, dose), frames_of(frames)
    require_task(chosen.card, *SEGMENTING)
    known_crystals(chosen.card.specimens, element)
    files = find_images(images, out)
    if files.searched or len(files.paths) > 1:
        from passband.sessions.image_job import Settings
        from passband.verdicts.domain import SpecimenInfo

        known = SpecimenInfo(tuple(element) if element else None)
        settings = Settings.of("segment", out, chosen, given=given, frames=wanted, specimen=known)
        _run(files, workers, as_json, settings, chosen.card.name)
    [path], [place] = files.paths, outputs.places(files.paths)
    micrographs = _read(path, given, wanted)
    read = []
    for i, micrograph in enumerate(micrographs):
        check_fits(micrograph, chosen.card)
        frame = "" if len(micrographs) == 1 else f"{i:04d}"
        name = f"{place.name}_{frame}" if frame else place.name
        read.append((place.with_name(name), micrograph, outputs.origin(chosen.card, path, frame)))
    placed = [(outputs.free_place(out, place, made_by), micrograph, made_by) for place, micrograph, made_by in read]
    answers = []
    for place, micrograph, made_by in placed:
        with TerminalProgress() as progress:
            result = segmented(chosen, micrograph, elements=element, progress=_Tiles(progress, micrograph.name))
        written = outputs.write_outputs(place, result, made_by)
        answers.append(result.to_dict() | {"files": written})
        if not as_json:
            beside = "and beside it masks, probability, regions, table, sizes and record"
            show(f"{micrograph}\n  {result}\n  {written['overlay']} {beside}")
    if as_json:
        print_json({"model": chosen.card.name, "images": answers})
    elif chosen.card.task == SEGMENTING[0] and (chosen.scores is not None or chosen.card.modality == "hrtem"):
        size = "" if pixel_size is None else f" --pixel-size {pixel_size:g}"
        show(f"Does the model work here? passband check {model} {shlex.quote(str(path))}{size}")


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
    images: ImagesOrNone = None,
    condition: Annotated[
        Path | None, Option(help="A condition file, a preset or a set of conditions, instead of images.")
    ] = None,
    image: Annotated[str | None, Option(help="The same as IMAGE.")] = None,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    element: Elements = None,
    support: Annotated[str | None, Option(help="Material of the support: carbon, silica, …, or none.")] = None,
    thickness: Annotated[float | None, Option(help="Thickness of the support [Å].")] = None,
    diameter: Annotated[float | None, Option(help="Diameter of the particles [Å].")] = None,
    out: Annotated[Path | None, _out("checked")] = None,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Predict whether a model works under a condition or on a micrograph: yes, no or cannot say, the Dice with an interval, reasons, advice.

    Facts of the specimen that are not given are assumed to be those that the model was calibrated on.

    Several images get a table and a contact sheet; a stopped run can be resumed.

    The exit code is 1 if an answer is no or cannot say or an image cannot be used, and 2 if none can.

    Example:  passband check au-300kv --condition microscope.yaml
    """
    from passband.models.store import load_model
    from passband.sessions.image_files import find_images
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
        labelled = read_labelled(condition, any_modality=True)
        for _, given_condition in labelled:
            chosen.require_modality(given_condition)
        names = [str(condition)] if len(labelled) == 1 else [f"{condition}: {label}" for label, _ in labelled]
        chosen.prepare([c for _, c in labelled])
        no_notes: list[str] = []
        whole = as_json or len(labelled) == 1
        found = [chosen.check(c, specimen, explained=whole, advised=whole) for _, c in labelled]
        verdicts = [(name, no_notes, verdict) for name, verdict in zip(names, found, strict=True)]
    else:
        given_of_image, wanted = calibration_of(pixel_size, energy, dose), frames_of(frames)
        place = out or Path("checked")
        files = find_images(images, place)
        if files.searched or len(files.paths) > 1 or out is not None:
            from passband.sessions.image_job import Settings

            of_all: dict[str, Any] = {"given": given_of_image, "frames": wanted, "specimen": specimen}
            _run(files, workers, as_json, Settings.of("check", place, chosen.model, **of_all), chosen.card.name)
        micrographs = _read(files.paths[0], given_of_image, wanted)
        verdicts = [(m.name, list(m.notes), chosen.check_image(m, specimen)) for m in micrographs]
    answers = {v.answer for *_, v in verdicts}
    worst = next(a for a in ("no", "cannot say", "yes") if a in answers)
    if as_json:
        listed = [{"subject": name, "found": notes, **v.to_dict(option)} for name, notes, v in verdicts]
        kind = "images" if condition is None else "conditions"
        print_json(listed[0] if kind == "conditions" and len(listed) == 1 else {kind: listed, "answer": worst})
    elif condition is not None and len(verdicts) > 1:
        show("\n".join(_lines_of_conditions(verdicts)))
    else:
        for name, notes, verdict in verdicts:
            show("\n  ".join([name, *notes, *verdict.text(option).splitlines()]))
    raise typer.Exit(0 if worst == "yes" else 1)


def _lines_of_conditions(verdicts: list[tuple[str, list[str], Any]]) -> list[str]:
    """Return a line a condition."""
    from passband.verdicts.verdict import loss_in_words

    lines = []
    for name, _, verdict in verdicts:
        why = verdict.cannot_say[0].text(option) if verdict.cannot_say else verdict.headline.partition(", ")[2]
        numbers = [loss_in_words(verdict.answer, verdict.relative_loss)]
        numbers += [f"Dice {verdict.dice.predicted:.2f}"] if verdict.dice else []
        lines.append(f"{name}: {', '.join([verdict.answer, *filter(None, numbers)])}; {why}")
    return lines


def calibration_of(pixel_size: float | None, energy: float | None, dose: float | None) -> Any:
    """Return the calibration that was given."""
    from passband.micrographs.micrograph import Calibration

    return Calibration(pixel_size, energy, dose)


def frames_of(frames: str | None) -> Any:
    """Return which frames of a stack are meant."""
    if frames is not None and frames.isdecimal():
        return int(frames)
    if frames not in ("sum", "each", None):
        raise BadInputError(f"--frames {frames}: is neither a number nor sum nor each")
    return frames


def _read(path: Path, given: Any, frames: Any) -> list[Any]:
    from passband.micrographs.formats.decode import UNALIGNED
    from passband.micrographs.reading import read_micrographs

    micrographs = read_micrographs(path, frames=frames, **vars(given))
    if any(UNALIGNED in line for micrograph in micrographs for line in micrograph.notes):
        note(f"{path}: its frames are {UNALIGNED}; passband movie aligns them first")
    return micrographs


def _run(files: Any, workers: int, as_json: bool, settings: Any, model: str | None = None) -> NoReturn:
    """Do the same with several images, and exit."""
    from passband.execution.choose import make_executor
    from passband.sessions.image_run import run_images

    with make_executor("processes", min(workers, len(files.paths))) as executor, TerminalProgress() as progress:
        run = run_images(settings, files, executor, progress, model=model, name=option)
    print_answer(run, as_json)
    raise typer.Exit(0 if run.all_well else 1)
