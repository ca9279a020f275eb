"""Models: a folder with a trained network, its card and its scores; loaded by name or path, and checked.

Reading a model runs and unpickles nothing: weights are safetensors, tables are Parquet, the card is JSON.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import ValidationError

from passband.base.errors import BadInputError
from passband.files.atomic import disk_errors, temporary_beside, write_file, write_json
from passband.files.tables import read_table
from passband.files.yaml_config import message
from passband.learning import SEGMENTATION
from passband.models.card import ModelCard, plain

if TYPE_CHECKING:
    from torch import nn

    from passband.models.confidence import Confidence
    from passband.models.network import Network, Prediction

#: Tasks whose models mark particles.
SEGMENTING = (SEGMENTATION.name, "instances")
#: Files of a model.
CARD, WEIGHTS, ONNX, SECOND = "card.json", "weights.safetensors", "network.onnx", "second.safetensors"
SCORES, PREDICTOR = "scores.parquet", "predictor.json"
#: Largest file of each name [bytes].
MOST_BYTES = dict.fromkeys((WEIGHTS, ONNX, SECOND), 500_000_000) | {
    CARD: 5_000_000,
    SCORES: 50_000_000,
    PREDICTOR: 5_000_000,
}
# Largest share of a packed file that its packing may save; tables and weights are hardly packed at all.
_MOST_RATIO = 100
_MOST_CONDITIONS, _MOST_FILES = 20_000, 16
# Largest number of features of an image.
_LONGEST_LIST = 64
# Columns of the scores that verdicts need.
_COLUMNS = {"role": pl.String, "condition": pl.String, "loss": pl.Float64, "dice": pl.Float64}


@dataclass(frozen=True)
class Model:
    """A model on disk: its folder, and its card."""

    folder: Path
    card: ModelCard

    def __repr__(self) -> str:
        return f"Model({self.card.name!r}, {self.folder})"

    @property
    def weights(self) -> Path:
        """File of the network: weights of one of passband's families, or an external network in ONNX."""
        return self.folder / (WEIGHTS if self.card.runs == "passband" else ONNX)

    @cached_property
    def scores(self) -> pl.DataFrame | None:
        """One row for each condition that the model was tested under: the condition as JSON, loss, dice and more; None if untested."""
        return read_scores(self.folder / SCORES) if SCORES in self.card.files else None

    def checked_card(self) -> ModelCard:
        """Return the card on disk, after checking it and the files again; BadInputError if they have changed."""
        return read_model(self.folder).card

    @cached_property
    def network(self) -> "Network":
        """The network, loaded once: normalised pictures [B, 1, h, w] to logits; BadInputError if it cannot be run here."""
        from passband.models.network import Network

        return Network(self)

    @cached_property
    def second_network(self) -> "nn.Module | None":
        """The second network, loaded once, which a verdict on an image compares with the first; None if there is none."""
        from passband.models.network import OnPictures, load_weights

        config = self.card.second_network
        return None if config is None else OnPictures(load_weights(self.folder / SECOND, config)).eval()

    @cached_property
    def confidence(self) -> "Confidence | None":
        """What gives each predicted particle its confidence; None if the model has none: external and tuned ones until they are scored."""
        from passband.models.confidence import CONFIDENCE, restore

        if PREDICTOR not in self.card.files:
            return None
        saved = read_json(self.folder / PREDICTOR)
        try:
            return restore(saved[CONFIDENCE]) if isinstance(saved, dict) and CONFIDENCE in saved else None
        except BadInputError as error:
            error.place = str(self.folder / PREDICTOR)
            raise

    def predict(self, images: Any, *, pixel_size_angstrom: float | None = None) -> "Prediction":
        """Predict particles in a stack of images, each as a whole; `segment` tiles large micrographs.

        Args:
            images: counts or intensities, shape [N, h, w] or [h, w]; or an object with `images` and `pixel_size_angstrom`, as
                `passband.simulate` returns.
            pixel_size_angstrom: of the images; by default that of the object, or the network's [Å].

        Returns:
            An object with `probability`, `masks` and `score(masks)`.

        Raises:
            BadInputError: if the images have another shape or pixels outside the model's range, or the network cannot be run.
        """
        from passband.models.network import predict

        require_task(self.card, SEGMENTATION.name)
        pixel = pixel_size_angstrom or getattr(images, "pixel_size_angstrom", None)
        return predict(self.network, self.card, getattr(images, "images", images), pixel)


def require_task(card: ModelCard, *tasks: str) -> None:
    """Raise BadInputError for a model of another task than these, which says how to use it."""
    if card.task in tasks:
        return
    verb = "segment" if card.task in SEGMENTING else "predict"
    wanted = " and ".join(filter(None, (", ".join(tasks[:-1]), tasks[-1])))
    what = f"is a model of the task {card.task}, and this is for {wanted}"
    remedy = f"use {verb}: passband {verb} {card.name} IMAGE"
    raise BadInputError(what, value=card.task, limit=tasks, remedy=remedy, place=card.name)


def require_hrtem(card: ModelCard) -> None:
    """Raise BadInputError for a model for STEM, where only HRTEM is known."""
    if card.modality == "stem":
        what = "is a model for STEM images, and this is for HRTEM"
        remedy = f"segment or check scans with it: passband segment {card.name} IMAGE"
        raise BadInputError(what, value="stem", limit="hrtem", remedy=remedy, place=card.name)


def user_folder() -> Path:
    """Return the folder of the user's models: PASSBAND_MODELS, or the usual place for data."""
    if given := os.environ.get("PASSBAND_MODELS"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "passband" / "models"


def installed() -> dict[str, Path]:
    """Return the folders of the models by name: bundled ones, then the user's."""
    folders: dict[str, Path] = {}
    for place in (Path(str(files("passband.models") / "bundled")), user_folder()):
        for card in sorted(place.glob(f"*/{CARD}")):
            folders.setdefault(card.parent.name, card.parent)
    return folders


def load_model(name: str | Path) -> Model:
    """Load a model by its name or from its folder; BadInputError if there is none, or something in it is wrong."""
    known, path = installed(), Path(name)
    in_any_case = next((folder for k, folder in known.items() if k.lower() == str(name).lower()), path)
    folder = known.get(str(name), in_any_case)
    if folder.is_dir():
        return read_model(folder)
    if path.is_file():
        raise BadInputError("is a file", remedy="import it as a model, then use it by its name", place=name)
    raise BadInputError(f"{name}: no such model; there are {', '.join(known) or 'none'}, or give a model's folder")


def read_model(folder: Path) -> Model:
    """Return the model of a folder after checking its card and the checksums of its files; BadInputError if one is wrong."""
    path = folder / CARD
    if not path.exists():
        raise BadInputError(f"{folder}: is no model (it has no {CARD}); give a model's name or folder")
    card = _card(read_json(path), path)
    needed = {WEIGHTS if card.runs == "passband" else ONNX}
    if not needed <= set(card.files) or (card.runs == "passband") != (card.network is not None):
        raise _bad(path, "names no network")
    if (card.second_network is None) != (SECOND not in card.files):
        raise _bad(path, f"has only one of second_network and {SECOND}")
    if len({card.own_loss is None, SCORES not in card.files, PREDICTOR not in card.files}) > 1:
        raise _bad(path, f"has own_loss, {SCORES} and {PREDICTOR} only in part; a scored model has all three")
    for name, expected in card.files.items():
        file = folder / name
        most = MOST_BYTES.get(name, 0)
        if not file.is_file() or file.is_symlink() or file.stat().st_size > most:
            raise _bad(file, f"is missing, no plain file of a model, or larger than {most / 1e6:g} MB")
        if digest(file) != expected:
            raise _bad(file, "is not the file that its card describes: its checksum differs")
    return Model(folder, card)


def _card(content: Any, path: Path) -> ModelCard:
    """Return the card in the content of a JSON file, if it is as its checksum says."""
    try:
        card = ModelCard.model_validate(content)
        written = card.own_digest()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        fault = f"{place}: {message(error).removeprefix(f'{place}: ')}"
        raise _bad(path, f"is not a model's card: {plain(fault, 300)}") from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"is not a model's card: {plain(str(error), 300)}") from None
    if card.digest != written:
        raise _bad(path, "has been changed since it was written: its checksum differs")
    return card


def _bad(path: Path, what: str) -> BadInputError:
    return BadInputError(what, remedy="get the model again", place=path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a model; BadInputError if it is too large, no JSON, or contains NaN or Infinity."""

    def no_number(name: str) -> None:
        raise ValueError(f"it contains {name}, which is no number")

    try:
        if path.stat().st_size > MOST_BYTES[path.name]:
            raise _bad(path, f"has more than the {MOST_BYTES[path.name]:,} bytes that such a file may have")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=no_number)
    except BadInputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(path, f"cannot be read: {plain(str(error))}") from None


def read_scores(path: Path) -> pl.DataFrame:
    """Return the scores of a model, a row per condition; BadInputError if the file is no such table."""
    try:
        table = read_table(path)
        schema, rows = table.schema, len(table)
        if odd := [name for name, kind in _COLUMNS.items() if schema.get(name) != kind]:
            raise _bad(path, f"has no column {odd[0]} of {_COLUMNS[odd[0]]}")
        if not 0 < rows <= _MOST_CONDITIONS:
            raise _bad(path, f"has {rows} conditions, where 1 to {_MOST_CONDITIONS} can be used")
        lists = [column for column in table if isinstance(column.dtype, pl.List)]
        if any((column.list.len().max() or 0) > _LONGEST_LIST for column in lists):
            raise _bad(path, f"has lists of more than the {_LONGEST_LIST} features that an image may have")
        numbers = table.select(pl.selectors.float())
        bad = [c.name for c in numbers if c.null_count() or not c.is_finite().all()]
        bad += [c for c in ("role", "condition") if table[c].null_count()]
        bad += [c for c in table.columns if c.startswith("loss") and (table[c] <= 0).any()]
        shares = [c for c in table.columns if c.startswith(("dice", "instance_f1", "surface_dice"))]
        bad += [c for c in shares if not table[c].is_between(0, 1).all()]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, TypeError) as error:
        raise _bad(path, f"is no table of scores: {plain(str(error), 200)}") from None
    if bad:
        raise _bad(path, f"has values in the column {plain(bad[0], 50)} that no score has")
    return table


def write_model(folder: Path, card: ModelCard, contents: dict[str, bytes], *, replace: bool = False) -> Model:
    """Write a card and the contents of the files beside it, and return the model; BadInputError if the folder exists or cannot be written."""
    if not replace:
        refuse_existing(folder)
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    card = card.model_copy(update={"files": checksums})
    card = card.model_copy(update={"digest": card.own_digest()})
    with work_folder(folder) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        write_json(temporary / CARD, card.model_dump(mode="json"))
        aside = temporary_beside(folder)
        if folder.exists():
            folder.replace(aside)
        temporary.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)
    return Model(folder, card)


def refuse_existing(path: Path) -> None:
    """Raise BadInputError for a file or folder that exists already."""
    if path.exists():
        raise BadInputError(f"{path}: exists; choose another name, or delete it first")


@contextmanager
def work_folder(target: Path) -> Iterator[Path]:
    """Provide an empty folder beside a file or folder to write, and delete those that killed processes left there."""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        place = os.open(target.parent, os.O_RDONLY)
        try:
            # The system releases the lock with the process, however that ends.
            fcntl.flock(place, fcntl.LOCK_EX)
            for leftover in target.parent.glob(f".{target.name}.*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = temporary_beside(target)
            temporary.mkdir()
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        finally:
            os.close(place)


def export_zip(model: Model, out: str | Path) -> Path:
    """Write a model to one zip file and return its path; BadInputError if it exists or cannot be written."""
    out = Path(out)
    refuse_existing(out)

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (CARD, *model.card.files):
                archive.write(model.folder / name, name)

    write_file(out, write)
    return out


def import_zip(path: str | Path) -> Model:
    """Install a model from its zip file among the user's; BadInputError if it is incomplete, or its name is taken."""
    path, place = Path(path), user_folder()
    with work_folder(place / "import") as temporary:
        _unpack(path, temporary)
        try:
            model = read_model(temporary)
            _ = model.scores
        except BadInputError as error:
            # The user knows the file by its name, not by its place among the temporary ones.
            error.place = f"{path}: {Path(error.place or CARD).name}"
            raise
        target = place / model.card.name
        taken = installed().get(model.card.name, target)
        if taken.exists():
            raise BadInputError(f"{path}: a model {model.card.name!r} is installed already; delete {taken} first")
        temporary.replace(target)
    return Model(target, model.card)


def _unpack(path: Path, folder: Path) -> None:
    """Unpack the files of a model from a zip file, each of bounded size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_FILES:
                raise _bad(path, f"has {len(entries)} files, more than a model holds")
            for entry in entries:
                _check_entry(path, entry)
            if len({entry.filename for entry in entries}) != len(entries):
                raise _bad(path, "contains a file twice")
            for entry in entries:
                # `read` stops at the size that the entry states, and refuses one that is longer.
                with archive.open(entry) as packed, (folder / entry.filename).open("xb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except BadInputError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{path}: cannot be read: {error.strerror or plain(str(error))}; correct the path"
        raise BadInputError(what) from None
    except Exception as error:  # zipfile and its decompressors raise many classes on damaged files.
        raise _bad(path, f"is no zip file of a model: {plain(str(error), 200)}") from None


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse what no zip file of a model contains."""
    name = f"{plain(entry.filename, 60)!r}"
    if entry.filename not in MOST_BYTES or stat.S_ISLNK(entry.external_attr >> 16):
        raise _bad(path, f"contains {name}, which no model does")
    if entry.flag_bits & 0x1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad(path, f"contains {name} encrypted, or packed in another way than zip's usual one (deflate)")
    if entry.file_size > min(MOST_BYTES[entry.filename], 1_000_000 + _MOST_RATIO * entry.compress_size):
        raise _bad(path, f"would unpack {name} to {entry.file_size / 1e6:.0f} MB, more than a model holds")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
