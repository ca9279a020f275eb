"""Exit waves, or what else a modality stores of specimens, in Zarr: one chunk per specimen with a checksum, and a manifest entry written after it.

A wave set is named by its recipe and settings, not by its number of specimens: more specimens only add.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.files import atomic
from passband.files.jobs import REVISIONS, CheckedFiles, times_of
from passband.simulation.modalities import AnyConfig, modality_name, modality_of
from passband.simulation.wave_files import checked_waves, wave_entry, wave_files
from passband.specimens import Recipe

# Specimens that are checked at once: to open the arrays takes longer than to read one.
_READ_AT_ONCE = 16
# What a manifest entry says of its specimen.
_FACTS = {"digest", "atoms", "particles", "mask_share", "lost_intensity", "dropped_intensity", "seconds"}


@dataclass(frozen=True)
class WaveSet:
    """A family of exit waves on disk, or of what another modality stores: the specimens of a recipe, under settings, in a folder."""

    folder: Path
    recipe: Recipe
    config: AnyConfig

    def __hash__(self) -> int:
        # The recipe decides the place.
        return hash(self.folder)

    @property
    def mask_pixels(self) -> int:
        """Side of the stored masks: the multislice grid."""
        return self.config.targets.grid_points(self.recipe.field_angstrom)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of what is stored of a specimen."""
        return modality_of(self.config).stored_shape(self.recipe, self.config)

    def create(self, specimens: int) -> None:
        """Make room for at least this many specimens; those already there stay."""
        with atomic.disk_errors(self.folder), atomic.locked(self.folder / ".lock", wait=True):
            atomic.remove_leftovers(self.folder, self._manifest)
            content = atomic.as_read_back(wave_content(self.recipe, self.config))
            if atomic.read_json(self.folder / "recipe.json") != content:
                atomic.write_json(self.folder / "recipe.json", content)
        self._describe(specimens)

    def _describe(self, specimens: int) -> bool:
        """Write each zarr.json that is missing, damaged or for fewer specimens; return whether there was one.

        They follow from the recipe and the settings, so the chunks stay readable if one is lost.
        """
        known = [int(path.stem) + 1 for path in self._manifest.glob("*.json") if path.stem.isdecimal()]
        specimens = max([specimens, *known])
        group = zarr.create_group(zarr.storage.MemoryStore())
        *rows, columns = self.stored_shape
        shapes = {"coefficients": (math.prod(rows), columns), "masks": (self.mask_pixels, self.mask_pixels)}
        # Waves do not compress; the checksum catches a damaged chunk, the manifest a lost one.
        kinds = {"coefficients": ("complex64", [Crc32cCodec()]), "masks": ("bool", [ZstdCodec(level=3), Crc32cCodec()])}
        for name, shape in shapes.items():
            dtype, codecs = kinds[name]
            group.create_array(name, shape=(specimens, *shape), chunks=(1, *shape), dtype=dtype, compressors=codecs)
        changed = False
        # Studies share wave sets; two that grow one at once must take turns.
        with atomic.disk_errors(self.folder), atomic.locked(self.folder / ".lock", wait=True):
            for name in ("", *shapes):
                path = self._zarr / name / "zarr.json"
                wanted = atomic.as_read_back((group[name] if name else group).metadata.to_dict())
                present = atomic.read_json(path)
                if name and isinstance(present, dict) and isinstance(present.get("shape"), list):
                    # Another study may have made room for more.
                    wanted["shape"][0] = max(
                        wanted["shape"][0], *[n for n in present["shape"][:1] if type(n) is int], 0
                    )
                if present != wanted:
                    atomic.write_json(path, wanted)
                    changed = True
        return changed

    @property
    def _zarr(self) -> Path:
        return self.folder / "waves.zarr"

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest"

    def write(self, index: int, coefficients: np.ndarray, mask: np.ndarray, facts: dict[str, Any]) -> None:
        """Write what is stored, complex64, and mask, bool, of one specimen; its manifest entry, all of `_FACTS`, last."""
        with atomic.disk_errors(self.folder):
            group = zarr.open_group(self._zarr, mode="r+")
            group["coefficients"][index] = coefficients.reshape(-1, coefficients.shape[-1])
            group["masks"][index] = mask
        atomic.write_checked(self._entry(index), {"digest": _digest(coefficients, mask), **facts})

    def missing(self, specimens: int) -> list[int]:
        """Return the specimens that are absent, half-written or damaged; those that have not changed are not read again."""
        absent: list[int] = []
        checked = CheckedFiles(checked_waves(self.folder))
        for start in range(0, specimens, _READ_AT_ONCE):
            block = range(start, min(start + _READ_AT_ONCE, specimens))
            times = {index: times_of(wave_files(self.folder, index)) for index in block}
            if all(checked.knows(str(index), times[index]) for index in block):
                continue
            lost = [] if self._are_whole(block) else [index for index in block if not self._are_whole([index])]
            for index in set(block).difference(lost):
                checked.note(str(index), times[index], wave_files(self.folder, index))
            absent += lost
        checked.save()
        return absent

    def _are_whole(self, block: Sequence[int]) -> bool:
        """Tell whether consecutive specimens are there and undamaged."""
        if not all(self._entry(index).exists() for index in block):
            return False
        try:
            self.read(block[0], block[-1] + 1)
        except BadInputError:
            return False
        return True

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what is stored, complex64 [N, ...], and masks [N, n, n] of specimens start to stop − 1; a BadInputError if one is damaged."""
        try:
            return self._read(start, stop)
        except BadInputError:
            if not (self._manifest.is_dir() and self._describe(0)):
                raise
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            group = zarr.open_group(self._zarr, mode="r")
            coefficients = np.asarray(group["coefficients"][start:stop])
            masks = np.asarray(group["masks"][start:stop])
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._damaged(str(error)) from None
        if len(coefficients) < stop - start:
            raise self._damaged(f"it ends before specimen {stop - 1}")
        for i, facts in enumerate(self.facts(stop, start)):
            if facts["digest"] != _digest(coefficients[i], masks[i]):
                raise self._damaged(f"specimen {start + i} is not as it was written")
        return coefficients.reshape(-1, *self.stored_shape), masks

    def has(self, index: int) -> bool:
        """Tell whether a specimen is there and undamaged."""
        return self._are_whole([index])

    def noted(self, index: int) -> bool:
        """Tell whether a specimen is said to be there, without looking at it."""
        return self._entry(index).exists()

    def facts(self, stop: int, start: int = 0) -> list[dict[str, Any]]:
        """Return the manifest entries of specimens start to stop − 1."""
        entries = [atomic.read_checked(self._entry(index), _FACTS) or {} for index in range(start, stop)]
        for index, entry in enumerate(entries, start):
            if not entry.keys() >= _FACTS:
                raise self._damaged(f"the manifest entry of specimen {index} is missing or not as it was written")
        return entries

    def _entry(self, index: int) -> Path:
        return wave_entry(self.folder, index)

    def _damaged(self, reason: str) -> BadInputError:
        return BadInputError(
            f"{self.folder}: exit waves missing or damaged ({' '.join(reason.split())}); run the same command again, which makes them again"
        )


def wave_content(recipe: Recipe, config: AnyConfig) -> dict[str, Any]:
    """Return all that decides what is stored, JSON-like."""
    settings = "exit_waves" if modality_name(config) == "hrtem" else modality_name(config)
    return {
        "revision": REVISIONS["waves"],
        "specimens": recipe.model_dump(mode="json"),
        "thermal_displacement_angstrom": recipe.displacements(),
        settings: config.model_dump(mode="json"),
    }


def wave_id(recipe: Recipe, config: AnyConfig) -> str:
    """Return the id of a wave set: the hash of recipe and settings."""
    return content_id(wave_content(recipe, config))


def _digest(coefficients: np.ndarray, mask: np.ndarray) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(coefficients).tobytes(), digest_size=16)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
