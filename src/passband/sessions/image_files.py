"""From files, folders and patterns to the micrographs that are meant."""

import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from passband.base.errors import BadInputError, plain
from passband.files.atomic import has, read_json
from passband.micrographs import formats

#: The picture of a run, beside its table.
CONTACT_SHEET = "contact_sheet.png"
_PATTERN = re.compile(r"[*?\[]")
#: What the name of the record of a file's predictions ends in.
PREDICTIONS = "_prediction.json"
_MASK = "_mask"


@dataclass(frozen=True)
class ImageFiles:
    """The files of a run in natural order (image 2 before image 10), and a note on those that were left out."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    #: Whether a folder or a pattern was named, and not files alone.
    searched: bool = False


def find_images(sources: Sequence[str | Path], out: Path | None = None) -> ImageFiles:
    """Return the micrographs that files, folders (with their subfolders) and patterns such as `session/*.dm4` name, each once.

    A file that is named is taken as it is. In folders and patterns hidden files, files of other kinds, results of passband, masks beside
    their image (`a_mask.png` of `a.tif`) and pictures of a file (`a.png` of `a.dm4`) are left out, and so is the folder `out`.

    Raises:
        BadInputError: for a name without a file, or a folder or pattern without a micrograph.
    """
    result: dict[str, Path] = {}
    own, other, searched = 0, set[str](), False
    for source in sources:
        path, text = Path(source), str(source)
        if text and path.is_dir():
            found, remedy = list(_inside(path, out)), "name the folder that holds them"
        elif (text and os.path.lexists(path)) or not _PATTERN.search(text):
            # Whether it can be read is told when it is.
            if not (text and os.path.lexists(path)):
                what = "cannot be read: No such file or directory"
                raise BadInputError(
                    what, remedy="give the path of a micrograph, a folder or a pattern", place=plain(path)
                )
            result.setdefault(os.path.realpath(path), path)
            continue
        else:
            matches = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207 the pattern may be absolute
            found = [p for match in matches for p in (_inside(match, out) if match.is_dir() else [match])]
            remedy = "correct the pattern"
        searched = True
        images, made = micrographs(found)
        if not images:
            counted = f"; it has {_count(len(found), 'other file')}" if found else ""
            what = f"holds no micrograph ({formats.endings()}){counted}"
            raise BadInputError(what, remedy=remedy, place=plain(path))
        own += made
        other |= {plain(p.suffix.lower()) or "none" for p in found if p.suffix.lower() not in formats.READERS}
        for p in images:
            result.setdefault(os.path.realpath(p), p)
    notes = [f"left out: {_count(own, 'file')} that are masks, pictures or results of passband"] if own else []
    notes += [f"left out: files that end in {', '.join(sorted(other))}"] if other else []
    return ImageFiles(tuple(result.values()), tuple(notes), searched)


def names_inside(folder: Path, out: Path | None) -> Iterator[str]:
    """Yield the paths of the files of a folder and of those in it, but for hidden ones and those in the folder `out`."""
    results = None if out is None else os.path.realpath(out)
    for place, folders, found in os.walk(folder):
        folders[:] = [f for f in folders if f[0] != "." and os.path.realpath(Path(place) / f) != results]
        yield from (os.path.join(place, name) for name in found if name[0] != ".")  # noqa: PTH118 a look at 10,000 files


def _inside(folder: Path, out: Path | None) -> Iterator[Path]:
    return map(Path, names_inside(folder, out))


def is_record(path: Path) -> bool:
    """Tell whether a file is the record of a segmentation."""
    try:
        return "model_digest" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def micrographs(found: Iterable[Path], is_record: Callable[[Path], bool] = is_record) -> tuple[list[Path], int]:
    """Return the micrographs among files in natural order, and how many others of their formats are masks, pictures or results."""
    images = {p for p in found if p.suffix.lower() in formats.READERS}
    made = _made(images, is_record)
    return sorted(images - made, key=_natural), len(made)


def _made(images: Iterable[Path], is_record: Callable[[Path], bool]) -> set[Path]:
    """Return which files are results of passband, masks of a neighbour, or the PNG of a neighbour."""
    # Imported here because its figures take half a second.
    from passband.models.outputs import names

    # A live session asks again and again: paths as text are quicker.
    starts, ending = {p: str(p).removesuffix(p.suffix) for p in images}, names("")["record"]
    originals = {start for p, start in starts.items() if p.suffix.lower() != ".png"}
    everything, results = set(starts.values()), set[Path]()
    for folder in map(Path, {os.path.dirname(start) for start in everything}):  # noqa: PTH120
        results.add(folder / CONTACT_SHEET)
        for record in folder.glob(f"*{ending}"):
            if is_record(record):
                results |= {folder / name for name in names(record.name.removesuffix(ending)).values()}
        for record in folder.glob(f"*{PREDICTIONS}"):
            results |= {folder / name for name in _predicted(record)}
    return {
        p
        for p, start in starts.items()
        if p in results
        or (start.endswith(_MASK) and start.removesuffix(_MASK) in everything)
        or (p.suffix.lower() == ".png" and start in originals)
    }


def _predicted(record: Path) -> set[str]:
    """Return the names of the maps and overlays that a record of predictions lists."""
    content = read_json(record)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        return set()
    files = [image["files"] for image in images if has(image, {"files": dict})]
    return {Path(str(name)).name for of_image in files for name in of_image.values()}


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
