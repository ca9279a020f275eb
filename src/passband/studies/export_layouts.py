"""How exported images lie in their folder: as files by part, as nnU-Net expects them, or with a COCO file for each part."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from passband.base.version import __version__
from passband.files.atomic import read_checked, write_file, write_json
from passband.micrographs.write_labels import coco_annotations, particle_outlines
from passband.micrographs.write_tiff import write_stack

#: The parts of a set, in the order of their shares.
PARTS = ("train", "validation", "test")
# Share of the pixels that an image of 8 bits shows as black, and as white.
_CLIPPED = 0.1


@dataclass(frozen=True)
class Truth:
    """Labels of one image [rows, columns]: whether it is particle, numbers of particles and of classes from 1, and the names of the classes."""

    mask: NDArray[np.bool_]
    instances: NDArray[np.uint16]
    classes: NDArray[np.uint8]
    names: tuple[str, ...]


@dataclass(frozen=True)
class TrainingImage:
    """One image of a part of a set [rows, columns], its labels, their pixel size [Å], and whether it is of STEM."""

    part: str
    number: int
    pixels: NDArray[np.float32]
    truth: Truth
    pixel_size_angstrom: float
    scanned: bool

    @property
    def file(self) -> str:
        """Its file within a folder of one kind of files."""
        return f"{self.part}/{self.number:06d}.tif"

    def write(self, path: Path, pixels: NDArray[Any] | None = None) -> None:
        """Write the image, or its pixels as another type."""
        image = self.pixels if pixels is None else pixels
        write_stack(path, image[None], self.pixel_size_angstrom, scanned=self.scanned)

    def write_label(self, path: Path, label: NDArray[Any]) -> None:
        """Write a label."""
        write_stack(path, label[None], self.pixel_size_angstrom, compress=True)


@dataclass(frozen=True)
class Written:
    """What was written of an image: its file, that of its label (0 is no particle), other labels, and its annotations in a COCO file, if there is one."""

    files: tuple[Path, ...]
    coco: list[dict[str, Any]] | None = None


class Layout(Protocol):
    """A way to lay out images; paths are relative to the folder."""

    #: What lies where, for the folder's README; `{classes}` becomes the names of the classes with their numbers.
    about: str

    def write(self, folder: Path, image: TrainingImage) -> Written:
        """Write the files of an image."""

    def finish(self, folder: Path, rows: Sequence[dict[str, Any]], names: tuple[str, ...]) -> None:
        """Write the files about all images, given their rows of the table."""


class Plain:
    """Images, masks and instances in a folder for each part, with the same names."""

    about = """images/PART/NUMBER.tif     32-bit floats: electrons a pixel; without a dose the intensity (vacuum = 1), of STEM the share of the beam; of iCOM the phase [rad]
masks/PART/NUMBER.tif      255 where there is a particle, else 0
instances/PART/NUMBER.tif  number of the particle, 0 for none, 16 bits
classes/PART/NUMBER.tif    only if classes were asked for: {classes}"""

    def write(self, folder: Path, image: TrainingImage) -> Written:
        """Write three files, or four where classes are told apart."""
        truth = image.truth
        labels: dict[str, NDArray[Any]] = {"masks": _mask(truth), "instances": truth.instances}
        if len(truth.names) > 1:
            labels["classes"] = truth.classes
        files = tuple(Path(kind, image.file) for kind in ("images", *labels))
        image.write(folder / files[0])
        for file, label in zip(files[1:], labels.values(), strict=True):
            image.write_label(folder / file, label)
        return Written(files)

    def finish(self, folder: Path, rows: Sequence[dict[str, Any]], names: tuple[str, ...]) -> None:
        """Write nothing."""


class NnUnet:
    """nnU-Net's raw data set, version 2 of its format: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md.

    Training and validation images are in imagesTr, and splits_final.json tells them apart: nnU-Net's own folds would put images of one
    specimen into both.
    """

    about = """imagesTr/image_NUMBER_0000.tif  images to train on and to validate with: as passband simulates them, 32-bit floats
labelsTr/image_NUMBER.tif       {classes}
imagesTs, labelsTs              the same of the images to test on
dataset.json                    what nnU-Net needs to know
splits_final.json               which of the images are for training, which for validation
Put this folder into nnUNet_raw as DatasetNNN_NAME, run nnUNetv2_plan_and_preprocess -d NNN --verify_dataset_integrity -c 2d, copy
splits_final.json into nnUNet_preprocessed/DatasetNNN_NAME, and run nnUNetv2_train NNN 2d 0."""

    def write(self, folder: Path, image: TrainingImage) -> Written:
        """Write image and label."""
        kind, case = "Ts" if image.part == "test" else "Tr", _case(image.number)
        files = Path(f"images{kind}", f"{case}_0000.tif"), Path(f"labels{kind}", f"{case}.tif")
        image.write(folder / files[0])
        image.write_label(folder / files[1], image.truth.classes)
        return Written(files)

    def finish(self, folder: Path, rows: Sequence[dict[str, Any]], names: tuple[str, ...]) -> None:
        """Write dataset.json and splits_final.json."""
        cases = {part: [_case(row["number"]) for row in rows if row["split"] == part] for part in PARTS}
        content = {
            "channel_names": {"0": str(rows[0].get("kind", "HRTEM")).upper()},
            "labels": {"background": 0} | {name: number for number, name in enumerate(names, 1)},
            "numTraining": len(cases["train"]) + len(cases["validation"]),
            "file_ending": ".tif",
            # The other reader of .tif wants volumes.
            "overwrite_image_reader_writer": "NaturalImage2DIO",
            "description": f"simulated by passband {__version__}",
        }
        write_json(folder / "dataset.json", content)
        write_json(folder / "splits_final.json", [{"train": cases["train"], "val": cases["validation"]}])


class Coco:
    """Images of 8 bits in a folder for each part, and a COCO file for each part, as Detectron2 and MMDetection read them."""

    about = f"""images/PART/NUMBER.tif     8 bits: the lowest and the highest {_CLIPPED} % of the pixels are black and white, between them linear
masks/PART/NUMBER.tif      255 where there is a particle, else 0
annotations/PART.json      COCO: a particle an annotation, polygons or runs; categories: {{classes}}"""

    def write(self, folder: Path, image: TrainingImage) -> Written:
        """Write image and mask, and return the annotations."""
        truth, files = image.truth, (Path("images", image.file), Path("masks", image.file))
        low, high = np.percentile(image.pixels, [_CLIPPED, 100 - _CLIPPED])
        grey = np.clip((image.pixels - low) / max(high - low, 1e-12), 0, 1) * 255
        image.write(folder / files[0], grey.round().astype(np.uint8))
        image.write_label(folder / files[1], _mask(truth))
        _, first = np.unique(truth.instances[truth.instances > 0], return_index=True)
        categories = truth.classes[truth.instances > 0][first].tolist()
        drawn = particle_outlines(truth.instances)
        return Written(files, coco_annotations(truth.instances, drawn, categories))

    def finish(self, folder: Path, rows: Sequence[dict[str, Any]], names: tuple[str, ...]) -> None:
        """Write the COCO file of each part that has images."""
        for part in PARTS:
            if chosen := [row for row in rows if row["split"] == part]:
                write_file(folder / f"annotations/{part}.json", partial(_write_coco, folder, chosen, names))


def _mask(truth: Truth) -> NDArray[np.uint8]:
    return truth.mask.astype(np.uint8) * 255


def _case(number: int) -> str:
    return f"image_{number:06d}"


def _write_coco(folder: Path, rows: Sequence[dict[str, Any]], names: tuple[str, ...], path: Path) -> None:
    head = {
        "info": {"description": f"simulated by passband {__version__}"},
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "images": [
            {"id": row["number"] + 1, "file_name": Path(row["image"]).name}
            | dict.fromkeys(("width", "height"), row["pixels"])
            for row in rows
        ],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "annotations": [')
        number = 0
        # One image after the other: all outlines together may be more than the memory.
        for row in rows:
            for annotation in (read_entry(folder, row["number"]) or {}).get("coco", []):
                number += 1
                ids = {"id": number, "image_id": row["number"] + 1}
                file.write(", " * (number > 1) + json.dumps(ids | annotation))
        file.write("]}\n")


def entry_file(folder: Path, number: int) -> Path:
    """Return the file that says an image is finished: its files with their sizes, its row of the table, its annotations."""
    return folder / "finished" / f"{number:06d}.json"


def read_entry(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what is noted of a finished image whose files are all there; None if it has to be made."""
    entry = read_checked(entry_file(folder, number), set())
    try:
        whole = entry is not None and all((folder / f).stat().st_size == size for f, size in entry["files"].items())
    except OSError:
        return None
    return entry if whole else None


#: By name.
LAYOUTS: dict[str, Layout] = {"plain": Plain(), "nnunet": NnUnet(), "coco": Coco()}
