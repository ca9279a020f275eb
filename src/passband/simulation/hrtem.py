"""HRTEM: exit waves are stored, and a camera image is a cheap function of wave, condition and seed.

Everything that makes an image calls this: training, tests, `simulate`, the app, calibration, previews and the planner.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.metrics.texture import Scattering, Texture, scattering, set_texture
from passband.simulation import imaging, recording, symmetry
from passband.simulation.modality import Images, StoredSpecimen, camera_masks
from passband.simulation.multislice import ExitWaveConfig, engine, specimen_exit_waves
from passband.simulation.particle_truth import particle_truth
from passband.specimens import Recipe, Specimen, draw_specimen

#: Specimens of a recipe whose texture stands for it.
FAMILY = 16
#: What is stored of specimens, in words.
STORED = "exit waves"


def stored_shape(recipe: Recipe, config: ExitWaveConfig) -> tuple[int, int]:
    """Return the shape [P, K] of one specimen's exit wave: frozen-phonon configurations and stored coefficients."""
    return config.phonon_configurations, len(disc_indices(config.band_per_angstrom * recipe.field_angstrom))


def check_memory(recipe: Recipe, config: ExitWaveConfig, memory: int) -> None:
    """Refuse a memory [bytes] in which an exit wave cannot be made, by a BadInputError."""
    engine.check_memory(config, recipe.field_angstrom, memory)


def store(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    indices: Sequence[int],
    config: ExitWaveConfig,
    *,
    device: torch.device,
    memory: int | None = None,
) -> list[StoredSpecimen]:
    """Return the coefficients of the exit waves of specimens, [P, K] each; see `specimen_exit_waves`, also for errors."""
    waves = specimen_exit_waves(recipe, specimens, indices, config, device=device, memory=memory)
    return [StoredSpecimen(wave.coefficients, wave.lost_intensity, wave.dropped_intensity) for wave in waves]


def scatter(recipe: Recipe, indices: Sequence[int], config: ExitWaveConfig) -> tuple[Tensor, Tensor]:
    """Return exit waves, complex64 [N, P, K], and masks on the multislice grid, bool [N, m, m], of some specimens.

    Raises:
        BadInputError: if a specimen cannot be drawn, or too much of a beam is scattered beyond the band limit.
    """
    specimens = [draw_specimen(recipe, index) for index in indices]
    waves = specimen_exit_waves(recipe, specimens, list(indices), config)
    masks = [torch.from_numpy(particle_truth(recipe, specimen, config)) for specimen in specimens]
    return torch.stack([torch.from_numpy(wave.coefficients) for wave in waves]), torch.stack(masks)


def family_scattering(recipe: Recipe, config: ExitWaveConfig) -> Scattering:
    """Return what the first `FAMILY` specimens of a recipe scatter; BadInputError if they have no particles, or no film."""
    stored, masks = scatter(recipe, range(FAMILY), config)
    if not has_texture(recipe, masks):
        raise BadInputError("these specimens have no particles, or no film; texture needs both: give another recipe")
    return stored_scattering(stored, masks, recipe, config)


def has_texture(recipe: Recipe, masks: Tensor) -> bool:
    """Tell whether specimens of a recipe, with masks [N, m, m], have particles and a film: both are needed to tell them apart."""
    return bool(masks.any()) and not masks.all() and getattr(recipe, "substrate", True) is not None


def stored_scattering(stored: Tensor, masks: Tensor, recipe: Recipe, config: ExitWaveConfig) -> Scattering:
    """Return what specimens of a recipe scatter, from their exit waves [N, P, K] and masks, bool [N, m, m]."""
    frequencies = disc_indices(config.band_per_angstrom * recipe.field_angstrom)
    return scattering(stored, frequencies, masks, recipe.field_angstrom)


def power(
    stored: Tensor, conditions: Sequence[Condition], recipe: Recipe, config: ExitWaveConfig
) -> tuple[Tensor, Tensor]:
    """Return |q| [1/Å] and the mean power spectral density [Å²] of exit waves [N, P, K], whatever the conditions."""
    return imaging.wave_power(
        stored, disc_indices(config.band_per_angstrom * recipe.field_angstrom), recipe.field_angstrom
    )


def textures(
    sets: Sequence[Sequence[Condition]], stored: Tensor, masks: Tensor, recipe: Recipe, config: ExitWaveConfig
) -> Texture:
    """Return the analytic texture of sets of conditions, of what exit waves [N, P, K] with masks, bool [N, m, m], scatter."""
    return set_texture(sets, stored_scattering(stored, masks, recipe, config))


def imager(condition: Condition, recipe: Recipe, config: ExitWaveConfig) -> "Imager":
    """Return what makes images of a recipe's specimens; a BadInputError if exit waves are of another energy, or the band is too narrow."""
    if condition.energy_ev != config.energy_ev:
        raise BadInputError(
            f"a condition has energy_ev {condition.energy_ev:g} and exit_waves has {config.energy_ev:g}; exit waves belong to one energy, make them equal"
        )
    made = Imager(condition, recipe.field_angstrom, config)
    made.check()
    return made


class Imager:
    """Makes images of exit waves under one condition; `grid` has the grids of wave and image."""

    def __init__(self, condition: Condition, field_angstrom: float, config: ExitWaveConfig):
        """Prepare the grids for a field [Å], see `image_grid`; what a condition does to a wave is computed with the first image."""
        self.condition = condition
        pixel, binning = condition.pixel_size_angstrom, condition.detector.binning
        self.grid = imaging.image_grid(field_angstrom, config.band_per_angstrom, pixel, binning)
        self._optics: dict[tuple[int, torch.device], tuple[Tensor, Tensor | None]] = {}
        self._recordings: dict[torch.device, recording.Recording] = {}

    @functools.cached_property
    def _grid(self) -> imaging.ImageGrid:
        """What of the grid the condition needs."""
        return imaging.narrowed(self.grid, [self.condition])

    @property
    def pixels(self) -> int:
        """Pixels along a side of the image."""
        return self.grid.pixels

    @property
    def binning(self) -> int:
        """Physical pixels of the camera along a side of one of the image."""
        return self.condition.detector.binning

    @property
    def is_round(self) -> bool:
        """Whether the image of a turned specimen is the turned image."""
        return self.condition.is_round

    def check(self) -> None:
        """Refuse an aperture that opens beyond the stored band, by a BadInputError."""
        imaging.check_aperture(self.condition, self.grid)

    def warning(self) -> str | None:
        """Return a warning if the stored band cuts off beams that the condition would transfer, else None."""
        return imaging.band_warning(self.condition, self.grid)

    def scan(self, count: int, generator: torch.Generator) -> None:
        """Return None: the camera sees all at once."""

    def scanned(self, masks: Tensor, scan: None) -> Tensor:
        """Return masks or maps [B, m, m] at the places of the camera's pixels, shape [B, n, n]."""
        return camera_masks(masks, self.pixels)

    def intensity(self, stored: Tensor, orientations: Tensor | None = None, scan: None = None) -> Tensor:
        """Return expected intensities on the camera's physical pixels, vacuum = 1, float32, [B, physical, physical].

        Args:
            stored: coefficients of the exit waves, complex64, shape [B, P, K].
            orientations: 0 to 7, shape [B], each specimen turned by its own; None leaves all as they are.
            scan: None.

        Raises:
            BadInputError: if the aperture opens beyond the stored band.
        """
        if orientations is None:
            transfer, camera = self._optics_of(1, stored.device)
            return imaging.expected_intensity(stored, transfer[0], self._grid, None if camera is None else camera[0])
        # The microscope turns one way and the image back; see `symmetry`.
        transfer, camera = self._optics_of(symmetry.ORIENTATIONS, stored.device)
        turned = None if camera is None else camera[orientations]
        images = imaging.expected_intensity(stored, transfer[orientations], self._grid, turned)
        return symmetry.turn_each(images, orientations, self.condition.detector.binning)

    def record(
        self, intensity: Tensor, *, generator: torch.Generator, poisson: recording.Poisson = torch.poisson
    ) -> Tensor:
        """Return electron counts of the camera's pixels, shape [B, n, n]; without a dose, the mean intensity."""
        device = intensity.device
        if device not in self._recordings:
            self._recordings[device] = recording.recording([self.condition], self.grid.physical, device)
        which = torch.zeros(len(intensity), dtype=torch.int64, device=device)
        return recording.record_each(intensity, self._recordings[device], which, generator=generator, poisson=poisson)

    @staticmethod
    def joint(imagers: "Sequence[Imager]", device: torch.device) -> "JointImager":
        """Return what makes images of all at once; a ValueError where one pass cannot (see `JointImager`)."""
        return JointImager(imagers, device)

    def images(self, stored: Tensor, masks: Tensor, *, seed: int) -> Images:
        """Return images with their truth, of coefficients [N, P, K] and masks [N, m, m] on any grid of the field.

        The shot noise is drawn on the CPU, so that the images are the same whatever the device.
        """
        generator = torch.Generator().manual_seed(seed)
        counts = self.record(self.intensity(stored).cpu(), generator=generator)
        return Images(counts, camera_masks(masks, self.pixels).cpu())

    def _optics_of(self, orientations: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return `_optics` on a device, made once."""
        key = orientations, device
        if key not in self._optics:
            self._optics[key] = _optics(self.condition, self._grid, orientations, device)
        return self._optics[key]


def _optics(
    condition: Condition, grid: imaging.ImageGrid, orientations: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return t(q), shape [orientations, M, n, n], and the camera's factor, shape [orientations, n, m], or None for none."""
    turns = [symmetry.matrix(o) for o in range(orientations)]
    transfer = torch.stack([imaging.transfer_on_grid(condition, grid, turn) for turn in turns])
    cameras = [c for turn in turns if (c := imaging.camera_on_grid(condition, grid, turn)) is not None]
    return transfer.to(device), torch.stack(cameras).to(device) if cameras else None


class JointImager:
    """Makes a batch of images, each under a condition of its own, in as few operations as one: what keeps a GPU busy."""

    def __init__(self, imagers: Sequence[Imager], device: torch.device):
        """Stack what each condition does to a wave.

        Raises:
            ValueError: if one pass cannot make images of all: their grids or numbers of coherent parts differ, or some have no
                dose, or a kind of noise that the others lack.
        """
        conditions, camera_grid = [imager.condition for imager in imagers], imagers[0].grid
        grid = imaging.narrowed(camera_grid, conditions)
        optics = [_optics(condition, grid, symmetry.ORIENTATIONS, device) for condition in conditions]
        alike = all(i.grid is camera_grid for i in imagers) and len({t.shape for t, _ in optics}) == 1
        hows = [recording.recording([c], grid.physical, device) for c in conditions]
        if not alike or any(how.kinds() != hows[0].kinds() for how in hows):
            raise ValueError(
                "these conditions differ in grid, coherent parts, dose or kinds of noise; image them one by one"
            )
        self._how = recording.recording(conditions, grid.physical, device)
        self._grid = grid
        self._transfer = torch.stack([transfer for transfer, _ in optics])
        self._camera = None
        if cameras := [camera for _, camera in optics if camera is not None]:
            ideal = torch.ones_like(cameras[0])
            self._camera = torch.stack([ideal if camera is None else camera for _, camera in optics])

    def intensity(self, stored: Tensor, which: Tensor, orientations: Tensor) -> Tensor:
        """Return expected intensities as `Imager.intensity` does, each under a condition of its own.

        Args:
            stored: coefficients of the exit waves, complex64, shape [B, P, K].
            which: the imager of each image, shape [B].
            orientations: 0 to 7, shape [B].
        """
        camera = None if self._camera is None else self._camera[which, orientations]
        images = imaging.expected_intensity(stored, self._transfer[which, orientations], self._grid, camera)
        return symmetry.turn_each(images, orientations, self._how.binning)

    def record(
        self, intensity: Tensor, which: Tensor, generators: Sequence[torch.Generator], *, poisson: recording.Poisson
    ) -> Tensor:
        """Return counts as `Imager.record` does; each generator draws the noise of an equal share of the batch, in order."""
        count = len(generators)
        shares = zip(intensity.chunk(count), which.chunk(count), generators, strict=True)
        return torch.cat([recording.record_each(i, self._how, w, generator=g, poisson=poisson) for i, w, g in shares])
