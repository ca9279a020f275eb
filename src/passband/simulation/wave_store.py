"""Exit waves in Zarr: one chunk per specimen with a checksum, and a manifest entry written after it.

A wave set is named by its recipe and multislice settings, not by its number of specimens: more specimens only add.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.files.atomic import disk_errors, locked, remove_leftovers, write_json
from passband.files.jobs import REVISIONS
from passband.simulation.multislice.config import ExitWaveConfig
from passband.specimens import Recipe


@dataclass(frozen=True)
class WaveSet:
    """A family of exit waves on disk.

    Attributes:
        folder: where it lies.
        recipe: the specimens.
        config: the multislice.
    """

    folder: Path
    recipe: Recipe
    config: ExitWaveConfig

    def __hash__(self) -> int:
        """Hash by place; the recipe decides the place."""
        return hash(self.folder)

    @property
    def mask_pixels(self) -> int:
        """Side of the stored masks: the multislice grid."""
        return self.config.grid_points(self.recipe.field_angstrom)

    def create(self, specimens: int, shape: tuple[int, int]) -> None:
        """Make room for at least this many specimens; those already there stay.

        Args:
            specimens: how many.
            shape: of one specimen's coefficients, [P, K].

        Raises:
            BadInputError: if the disk is full, or the wave set is damaged.
        """
        shapes = {"coefficients": shape, "masks": (self.mask_pixels, self.mask_pixels)}
        # Studies share wave sets; two that grow one at once must take turns.
        with disk_errors(self.folder), locked(self.folder / ".lock", wait=True):
            remove_leftovers(self.folder, self.folder / "manifest")
            if not (self.folder / "recipe.json").exists():
                write_json(self.folder / "recipe.json", wave_content(self.recipe, self.config))
            try:
                group = zarr.open_group(self.folder / "waves.zarr", mode="a")
                for name, shape in shapes.items():
                    if name not in group:
                        waves = name == "coefficients"
                        group.create_array(
                            name,
                            shape=(specimens, *shape),
                            chunks=(1, *shape),
                            dtype="complex64" if waves else "bool",
                            # Waves do not compress; the checksum catches a damaged chunk, the manifest a lost one.
                            compressors=[Crc32cCodec()] if waves else [ZstdCodec(level=3), Crc32cCodec()],
                        )
                    elif group[name].shape[0] < specimens:
                        group[name].resize((specimens, *shape))
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(str(error)) from None

    def write(self, index: int, coefficients: np.ndarray, mask: np.ndarray, facts: dict[str, Any]) -> None:
        """Write one specimen, its manifest entry last.

        Args:
            index: the specimen.
            coefficients: complex64, shape [P, K].
            mask: bool, shape [mask_pixels, mask_pixels].
            facts: what else to note in the manifest.
        """
        with disk_errors(self.folder):
            group = zarr.open_group(self.folder / "waves.zarr", mode="r+")
            group["coefficients"][index] = coefficients
            group["masks"][index] = mask
        write_json(self._entry(index), {"digest": _digest(coefficients, mask), **facts})

    def missing(self, specimens: int) -> list[int]:
        """Return the specimens that are absent, half-written or damaged."""
        return [i for i in range(specimens) if not self.has(i)]

    def facts(self, specimens: int) -> list[dict[str, Any]]:
        """Return the manifest entries of the first specimens."""
        return self._facts(0, specimens)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients [N, P, K] and masks [N, n, n] of specimens start to stop − 1.

        Raises:
            BadInputError: if an entry is missing or its checksum is wrong.
        """
        try:
            group = zarr.open_group(self.folder / "waves.zarr", mode="r")
            coefficients = np.asarray(group["coefficients"][start:stop])
            masks = np.asarray(group["masks"][start:stop])
            digests = [facts["digest"] for facts in self._facts(start, stop)]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise self._damaged(str(error)) from None
        if len(coefficients) < stop - start:
            raise self._damaged(f"it ends before specimen {stop - 1}")
        for i, digest in enumerate(digests):
            if digest != _digest(coefficients[i], masks[i]):
                raise self._damaged(f"specimen {start + i} is not as it was written")
        return coefficients, masks

    def has(self, index: int) -> bool:
        """Tell whether a specimen is there and undamaged."""
        if not self._entry(index).exists():
            return False
        try:
            self.read(index, index + 1)
        except BadInputError:
            return False
        return True

    def _facts(self, start: int, stop: int) -> list[dict[str, Any]]:
        return [json.loads(self._entry(i).read_text(encoding="utf-8")) for i in range(start, stop)]

    def _entry(self, index: int) -> Path:
        return self.folder / "manifest" / f"{index:06d}.json"

    def _damaged(self, reason: str) -> BadInputError:
        return BadInputError(
            f"{self.folder}: exit waves missing or damaged ({' '.join(reason.split())}); delete this folder and run the same command again"
        )


def wave_content(recipe: Recipe, config: ExitWaveConfig) -> dict[str, Any]:
    """Return all that decides the waves, JSON-like."""
    return {
        "revision": REVISIONS["waves"],
        "specimens": recipe.model_dump(mode="json"),
        "thermal_displacement_angstrom": recipe.displacements(),
        "exit_waves": config.model_dump(mode="json"),
    }


def wave_id(recipe: Recipe, config: ExitWaveConfig) -> str:
    """Return the id of a wave set: the hash of recipe and multislice settings."""
    return content_id(wave_content(recipe, config))


def _digest(coefficients: np.ndarray, mask: np.ndarray) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(coefficients).tobytes(), digest_size=16)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
