"""Models: a folder with a trained network, its card and its scores; loaded by name or path, and checked.

Reading a model runs and unpickles nothing: weights are safetensors, tables are Parquet, the card is JSON.
"""

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import ValidationError

from passband.base.errors import BadInputError
from passband.files.atomic import disk_errors, temporary_beside, write_json
from passband.files.yaml_config import message
from passband.models.card import ModelCard

if TYPE_CHECKING:
    from passband.models.network import Network, Prediction

#: Files of a model.
CARD, WEIGHTS, ONNX = "card.json", "weights.safetensors", "network.onnx"
SCORES, PREDICTOR = "scores.parquet", "predictor.json"
# Largest card, and largest model [bytes].
_CARD_BYTES, _MODEL_BYTES = 5_000_000, 2_000_000_000


@dataclass(frozen=True)
class Model:
    """A model on disk.

    Attributes:
        folder: of the model.
        card: its metadata.
    """

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
        return pl.read_parquet(self.folder / SCORES) if SCORES in self.card.files else None

    def checked_card(self) -> ModelCard:
        """Return the card on disk, after checking it and the files again.

        Raises:
            BadInputError: if they have changed.
        """
        return read_model(self.folder).card

    @cached_property
    def network(self) -> "Network":
        """The network, loaded once: normalised images [B, 1, n, n] to logits.

        Raises:
            BadInputError: if it cannot be run here.
        """
        from passband.models.network import Network

        return Network(self)

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

        pixel = pixel_size_angstrom or getattr(images, "pixel_size_angstrom", None)
        return predict(self.network, self.card, getattr(images, "images", images), pixel)


def user_folder() -> Path:
    """Return the folder of the user's models: PASSBAND_MODELS, or the usual place for data."""
    given = os.environ.get("PASSBAND_MODELS")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(given) if given else data / "passband" / "models"


def _bundled_folder() -> Path:
    return Path(str(files("passband.models") / "bundled"))


def installed() -> dict[str, Path]:
    """Return the folders of the models by name: bundled ones, then the user's."""
    folders: dict[str, Path] = {}
    for place in (_bundled_folder(), user_folder()):
        for card in sorted(place.glob(f"*/{CARD}")):
            folders.setdefault(card.parent.name, card.parent)
    return folders


def load_model(name: str | Path) -> Model:
    """Load a model by its name or from its folder.

    Raises:
        BadInputError: if there is none, or its card, a file or a checksum is wrong.
    """
    known = installed()
    path = Path(name)
    if str(name) in known:
        return read_model(known[str(name)])
    if path.is_dir():
        return read_model(path)
    if path.is_file():
        raise BadInputError(
            f"{name}: is a file; install it first with `passband model import {name}`, then use it by its name"
        )
    raise BadInputError(f"{name}: no such model; there are {', '.join(known) or 'none'}, or give a model's folder")


def read_model(folder: Path) -> Model:
    """Return the model of a folder after checking its card and the checksums of its files.

    Raises:
        BadInputError: if one of them is wrong.
    """
    path = folder / CARD
    try:
        if path.stat().st_size > _CARD_BYTES:
            raise BadInputError(f"{path}: has more than {_CARD_BYTES:,} bytes, which no card has; get the model again")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{folder}: is no model (it has no {CARD}); give a model's name or folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read: {' '.join(str(error).split())}; get the model again") from None
    try:
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        raise BadInputError(f"{path}: is not a model's card: {message(error)}") from None
    if card.digest != card.own_digest():
        raise BadInputError(f"{path}: has been changed since it was written: its checksum differs; get the model again")
    needed = {WEIGHTS if card.runs == "passband" else ONNX}
    if not needed <= set(card.files) or (card.runs == "passband") != (card.network is not None):
        raise BadInputError(f"{path}: names no network; get the model again")
    for name, expected in card.files.items():
        file = folder / name
        if not file.is_file() or file.is_symlink() or file.stat().st_size > _MODEL_BYTES:
            raise BadInputError(f"{file}: is missing, no plain file, or too large; get the model again")
        if digest(file) != expected:
            raise BadInputError(
                f"{file}: is not the file that its card describes: its checksum differs; get the model again"
            )
    return Model(folder, card)


def write_model(folder: Path, card: ModelCard, contents: dict[str, bytes], *, replace: bool = False) -> Model:
    """Write a model and return it.

    Args:
        folder: which must not exist, unless it is to be replaced.
        card: without checksums.
        contents: of each file beside the card.
        replace: whether an existing model is replaced.

    Raises:
        BadInputError: if the folder exists or cannot be written.
    """
    if folder.exists() and not replace:
        raise BadInputError(f"{folder}: exists; choose another name, or delete it first")
    card = card.model_copy(
        update={"files": {name: hashlib.sha256(c).hexdigest() for name, c in contents.items()}, "digest": None}
    )
    card = card.model_copy(update={"digest": card.own_digest()})
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(folder)
        temporary.mkdir()
        try:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
            write_json(temporary / CARD, card.model_dump(mode="json"))
            aside = temporary_beside(folder)
            if folder.exists():
                folder.replace(aside)
            temporary.replace(folder)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Model(folder, card)


def export_zip(model: Model, out: str | Path) -> Path:
    """Write a model to one zip file and return its path.

    Raises:
        BadInputError: if the file exists or cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise BadInputError(f"{out}: exists; choose another name, or delete it first")
    temporary = temporary_beside(out)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in (CARD, *model.card.files):
                    archive.write(model.folder / name, name)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    return out


def import_zip(path: str | Path, place: Path | None = None) -> Model:
    """Install a model from its zip file among the user's models and return it.

    Raises:
        BadInputError: if the model is incomplete, or one of this name is installed.
    """
    path, place = Path(path), user_folder() if place is None else place
    temporary = temporary_beside(place / path.stem)
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            _unpack(path, temporary)
            model = read_model(temporary)
            target = place / model.card.name
            if target.exists() or model.card.name in installed():
                raise BadInputError(
                    f"{path}: a model {model.card.name!r} is installed already; delete {installed().get(model.card.name, target)} first"
                )
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Model(target, model.card)


def _unpack(path: Path, folder: Path) -> None:
    """Unpack plain files of bounded size only."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(e.file_size for e in entries) > _MODEL_BYTES or len(entries) > 16:
                raise BadInputError(f"{path}: would unpack to more than a model holds; get the model again")
            for entry in entries:
                if "/" in entry.filename or "\\" in entry.filename or entry.filename.startswith("."):
                    raise BadInputError(f"{path}: holds {entry.filename!r}, which no model does; get the model again")
                # `read` stops at the size that the entry states, and refuses one that is longer.
                (folder / entry.filename).write_bytes(archive.read(entry))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: is no zip file of a model: {' '.join(str(error).split())}") from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
