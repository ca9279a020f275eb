"""HRTEM: exit waves are stored, and a camera image is a cheap function of wave, condition and seed.

Everything that makes an image calls this: training, tests, `simulate`, the app, calibration, previews and the planner.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation import symmetry
from passband.simulation.imaging import (
    band_warning,
    camera_on_grid,
    check_aperture,
    expected_intensity,
    image_grid,
    record,
    transfer_on_grid,
)
from passband.simulation.modality import Images, camera_masks
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import Recipe, draw_specimen, particle_mask


def stored_shape(recipe: Recipe, config: ExitWaveConfig) -> tuple[int, int]:
    """Return the shape [P, K] of one specimen's exit wave: frozen-phonon configurations and stored coefficients."""
    return config.phonon_configurations, len(disc_indices(config.band_per_angstrom * recipe.field_angstrom))


def scatter(recipe: Recipe, indices: Sequence[int], config: ExitWaveConfig) -> tuple[Tensor, Tensor]:
    """Return exit waves, complex64 [N, P, K], and masks on the multislice grid, bool [N, m, m], of some specimens.

    Raises:
        BadInputError: if a specimen cannot be drawn, or too much of a beam is scattered beyond the band limit.
    """
    specimens = [draw_specimen(recipe, index) for index in indices]
    waves = specimen_exit_waves(recipe, specimens, list(indices), config)
    n = config.grid_points(recipe.field_angstrom)
    masks = [torch.from_numpy(particle_mask(specimen, n)) for specimen in specimens]
    return torch.stack([torch.from_numpy(wave.coefficients) for wave in waves]), torch.stack(masks)


class Imager:
    """Makes images of exit waves under one condition; `grid` has the grids of wave and image."""

    def __init__(self, condition: Condition, field_angstrom: float, config: ExitWaveConfig):
        """Prepare the grids for a field [Å]; what a condition does to a wave is computed with the first image.

        Raises:
            BadInputError: if the field is not a whole number of pixels.
        """
        self.condition = condition
        self.grid = image_grid(
            field_angstrom, config.band_per_angstrom, condition.pixel_size_angstrom, condition.detector.binning
        )
        self._optics: dict[tuple[int, torch.device], tuple[Tensor, Tensor | None]] = {}

    @property
    def pixels(self) -> int:
        """Pixels along a side of the image."""
        return self.grid.pixels

    def check(self) -> None:
        """Refuse an aperture that opens beyond the stored band, by a BadInputError."""
        check_aperture(self.condition, self.grid)

    def warning(self) -> str | None:
        """Return a warning if the stored band cuts off beams that the condition would transfer, else None."""
        return band_warning(self.condition, self.grid)

    def intensity(self, stored: Tensor, orientations: Tensor | None = None) -> Tensor:
        """Return expected intensities on the camera's physical pixels, vacuum = 1, float32, [B, physical, physical].

        Args:
            stored: coefficients of the exit waves, complex64, shape [B, P, K].
            orientations: 0 to 7, shape [B], each specimen turned by its own; None leaves all as they are.

        Raises:
            BadInputError: if the aperture opens beyond the stored band.
        """
        if orientations is None:
            transfer, camera = self._optics_of(1, stored.device)
            return expected_intensity(stored, transfer[0], self.grid, None if camera is None else camera[0])
        # The microscope turns one way and the image back; see `symmetry`.
        transfer, camera = self._optics_of(symmetry.ORIENTATIONS, stored.device)
        turned = None if camera is None else camera[orientations]
        images = expected_intensity(stored, transfer[orientations], self.grid, turned)
        return symmetry.turn_each(images, orientations, self.condition.detector.binning)

    def record(self, intensity: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return electron counts of the camera's pixels, shape [B, n, n]; without a dose, the mean intensity."""
        return record(intensity, self.condition, generator=generator)

    def images(self, stored: Tensor, masks: Tensor, *, seed: int) -> Images:
        """Return images with their truth, of coefficients [N, P, K] and masks [N, m, m] on any grid of the field.

        The shot noise is drawn on the CPU, so that the images are the same whatever the device.
        """
        generator = torch.Generator().manual_seed(seed)
        counts = self.record(self.intensity(stored).cpu(), generator=generator)
        return Images(counts, camera_masks(masks, self.pixels).cpu())

    def _optics_of(self, orientations: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return t(q), shape [orientations, M, K], and the camera's factor, shape [orientations, n, m], or None for none."""
        key = orientations, device
        if key not in self._optics:
            turns = [symmetry.matrix(o) for o in range(orientations)]
            transfer = torch.stack([transfer_on_grid(self.condition, self.grid, turn) for turn in turns]).to(device)
            cameras = [c for turn in turns if (c := camera_on_grid(self.condition, self.grid, turn)) is not None]
            self._optics[key] = transfer, torch.stack(cameras).to(device) if cameras else None
        return self._optics[key]
