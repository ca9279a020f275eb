"""Studies of other modalities: STEM, and dark field with a stop in the beam, which is made here as the manual says."""

import json
import math
import re

import numpy as np
import polars as pl
import pytest
import torch

import passband as pb
from passband.base.errors import BadInputError
from passband.conditions.sets import ConditionDraw
from passband.metrics import measure
from passband.report.study_page import write_results
from passband.simulation import hrtem, modalities, stem
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize
from passband.simulation.stem import StemConfig
from passband.specimens import draw_specimen
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob
from passband.studies.jobs import test_images as images_of
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study
from passband.studies.wave_jobs import textures, wave_sets
from support.studies import SCORE_COLUMNS, TINY, run, study

HAADF = "detector: {kind: haadf, inner_mrad: 60, outer_mrad: 200}"
BASE = "{energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}"
STEM = (
    BASE,
    "{modality: stem, energy_ev: 300000, convergence_semiangle_mrad: 20, source_size_angstrom: 0.4, pixel_size_angstrom: 0.4, "
    f"dose_per_angstrom2: 5000, {HAADF}}}",
)
NO_WAVES = ("exit_waves: {phonon_configurations: 1}\n", "")


@pytest.fixture(scope="module")
def haadf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("haadf")
    config = study(folder, STEM, NO_WAVES)
    run(config, folder / "runs/small")
    held = StudyFolder(config, StudyPaths(folder / "runs/small"))
    write_results(held)
    return held


def test_tables_have_scores_and_the_metrics_of_probes(haadf):
    assert pl.read_parquet(haadf.paths.table("scores")).columns == SCORE_COLUMNS
    conditions = pl.read_parquet(haadf.paths.table("conditions"))
    assert set(conditions["modality"]) == {"stem"} and set(conditions["convergence_semiangle_mrad"]) == {20.0}
    shift = pl.read_parquet(haadf.paths.table("shift"))
    given = haadf.study.test_conditions
    expected = measure(["epsilon", "sigma"], given, given)
    np.testing.assert_allclose(shift["sigma"], expected["sigma"].flatten(), rtol=1e-9)
    np.testing.assert_allclose(shift["epsilon_test"], expected["epsilon_test"].repeat(3), rtol=1e-9)
    # Intensities add up in dark field: a probe out of focus has less of all.
    assert shift["delta_epsilon"].abs().max() > 0.01
    # The law of the loss knows HRTEM only.
    assert "film_excess" in shift.columns and "predicted_log_loss" not in shift.columns


def test_images_are_those_that_simulate_makes(haadf):
    """One way to make an image: a study's test images before noise are `pb.simulate`'s of the same specimens."""
    [waves] = wave_sets(haadf.study, haadf.paths)
    start, stop = haadf.study.split.test_range
    c = haadf.study.test_conditions[0].varied(dose=None)
    stored, _ = waves.read(start, stop)
    ours = stem.imager(c, waves.recipe, waves.config).intensity(torch.from_numpy(stored))
    theirs = pb.simulate(waves.recipe, c, n=stop - start, first=start).images
    assert np.abs(ours.transpose(1, 2).numpy() - theirs).max() < 1e-4 * theirs.max()
    counts, _ = images_of(haadf.study, haadf.paths, haadf.study.tests[0])
    assert torch.equal(counts, counts.round())


def test_the_report_shows_the_transfer_of_the_probe(haadf):
    page = haadf.paths.report.read_text(encoding="utf-8")
    assert "structure factors of each element in 8 slices of 8.0 Å" in page and "Exit waves: multislice" not in page
    assert (
        "structure factors id" in page
        and "exit waves" not in page
        and re.search(r"STEM: probe of [\d.]+ mrad, HAADF from", page)
    )
    assert "multiple scattering. Defocus" in page
    assert "from the entrance plane" in page and (haadf.paths.figures / "ctf_curves.png").is_file()
    findings = json.loads(haadf.paths.analysis.read_text())["findings"]
    assert findings["sentences"]


def test_a_second_run_makes_nothing_and_the_file_reads_back(haadf):
    _, progress = run(haadf.study, haadf.paths.folder)
    assert progress.new["structure factors"] == 0 and progress.new["networks"] == 0
    assert load_study(haadf.paths.study).id == haadf.study.id
    assert "stem" not in haadf.study.model_dump(mode="json")


def test_textures_are_those_of_images_of_training_specimens(haadf):
    seen = textures(haadf.study, haadf.paths)
    assert seen.film.shape == (3, 11) and seen.film.isfinite().all()
    # Gold stands out of carbon in the lowest ring.
    assert (seen.contrast[:, 0] > 0.5).all()


def test_training_turns_specimens_and_scans_masks(haadf):
    """The image of a turned specimen under an astigmatic probe with drift goes with the mask that is turned and drifts."""
    [waves] = wave_sets(haadf.study, haadf.paths)
    stored, masks = map(torch.from_numpy, waves.read(0, 2))
    c = haadf.study.test_conditions[1].varied(C12=60, drift_angstrom=4.0, line_jitter_angstrom=0.2, dose=1e6)
    source = ImageSource(stored, masks, stem.imager(c, waves.recipe, waves.config))
    generator = torch.Generator().manual_seed(0)
    for orientation in range(8):
        images, truth = source.batch(torch.arange(2), torch.full((2,), orientation), generator=generator)
        bright = (images > images.flatten(1).quantile(1 - truth.mean()).item()).float()
        assert float((bright == truth).float().mean()) > 0.93, orientation


def test_several_conditions_train_one_network(tmp_path):
    sets = (
        "  vary: {defocus_angstrom: [-100, 0, 100]}",
        "  draw: {defocus_angstrom: {uniform: [-200, 200]}, C12: {uniform: [0, 80]}}\n  count: 4\ntraining_sets:\n  uniform: {sizes: [3]}",
    )
    config = study(tmp_path, STEM, NO_WAVES, sets)
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    write_results(held)
    assert pl.read_parquet(held.paths.table("shift"))["sigma_best"].is_between(0, 1).all()


def test_what_is_drawn_of_a_probe():
    base = pb.StemCondition.preset("probe_corrected_300kv")
    drawn = ConditionDraw(
        base=base, draw={"source_size_angstrom": {"uniform": [0.3, 0.6]}, "inner_mrad": {"uniform": [50, 80]}}, count=3
    )
    sizes = [c.source_size_angstrom for c in drawn.conditions()]
    assert all(0.3 <= s <= 0.6 for s in sizes) and len(set(sizes)) == 3
    assert drawn.labels()[0].startswith("1: source size 0.") and drawn.labels()[0].endswith("Å")
    with pytest.raises(BadInputError, match="vibration_angstrom is a value of HRTEM conditions"):
        ConditionDraw(base=base, draw={"vibration_angstrom": {"uniform": [0.3, 0.6]}}, count=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([STEM], "exit_waves are of HRTEM, and the conditions of STEM; use stem instead"),
        ([("seeds: 1", "seeds: 1\nstem: {}")], "stem says how specimens are stored for STEM, and the conditions are of HRTEM"),
        ([STEM, NO_WAVES, ("seeds: 1", "seeds: 1\nstem: {band_per_angstrom: 1.0}")], "transfers up to 1.71 1/Å, and 1 1/Å are stored; raise stem.band_per_angstrom"),
        ([STEM, NO_WAVES, (HAADF, "detector: {kind: haadf, inner_mrad: 5, outer_mrad: 200}")], "lies in the beam of 20 mrad"),
        ([STEM, NO_WAVES, ("defocus_angstrom: [-100", "aperture_mrad: [-100")], "aperture_mrad is a value of HRTEM conditions"),
        ([STEM, NO_WAVES, ("pixel_size_angstrom: 0.4", "pixel_size_angstrom: 0.35")], "does not divide the field of 19.2"),
    ],
)  # fmt: skip
def test_studies_that_cannot_be(tmp_path, changes, words):
    with pytest.raises(BadInputError, match=words) as info:
        study(tmp_path, *changes)
    assert "\n" not in str(info.value)


def test_modes_do_not_mix(tmp_path):
    sets = ("seeds: 1", "seeds: 1\ntraining_sets:\n  other: {conditions: [probe_corrected_300kv]}")
    with pytest.raises(BadInputError, match="conditions mix STEM and HRTEM"):
        study(tmp_path, sets)


class _Stopped(hrtem.Imager):
    """Dark field: a stop of 3 mrad takes the undiffracted beam away, so that vacuum is dark."""

    def intensity(self, stored, orientations=None, scan=None):
        """Return the image without the beam."""
        return super().intensity(torch.where(self.grid.frequencies.any(1), stored, 0), orientations)


class DarkField:
    """A modality that is added as docs/extending.md says: all of HRTEM but its imager."""

    STORED = hrtem.STORED
    stored_shape, check_memory, store = (staticmethod(f) for f in (hrtem.stored_shape, hrtem.check_memory, hrtem.store))
    scatter, power, textures = (staticmethod(f) for f in (hrtem.scatter, hrtem.power, hrtem.textures))

    @staticmethod
    def imager(condition, recipe, config):
        """Return an imager with the stop."""
        return _Stopped(condition, recipe.field_angstrom, config)


def test_a_modality_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(modalities.MODALITIES, "hrtem", DarkField())
    config = study(tmp_path)
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    write_results(held)
    statistics = pl.read_parquet(held.paths.table("conditions"))
    # 500 electrons per Å² make 80 a pixel where the beam is seen.
    assert (statistics["image_mean"] < 20).all()
    network = TrainingJob(config, held.paths, config.trainings[0]).network()
    counts, _ = images_of(config, held.paths, config.tests[0])
    assert network(normalize(counts)[:, None]).shape == (3, 1, 48, 48)
    assert pl.read_parquet(held.paths.table("scores"))["loss"].is_finite().all()


def test_room_for_a_specimen_changes_no_image():
    recipe = load_recipe_of_tiny()
    c = pb.StemCondition.preset("probe_corrected_300kv").varied(pixel_size_angstrom=0.4, dose=None)
    atoms, motion = draw_specimen(recipe, 0).atoms, recipe.displacements()
    made = []
    for depth in (math.ceil(float(atoms.cell[2, 2])), 96.0):
        config = StemConfig.of([c], float(depth))
        made.append(stem.imager(c, recipe, config).intensity(stem.structure_factors(atoms, motion, config)[None]))
    assert torch.allclose(made[0], made[1], atol=1e-6)


def load_recipe_of_tiny():
    import yaml

    from passband.specimens import SpecimenRecipe

    return SpecimenRecipe.model_validate(yaml.safe_load(TINY)["specimens"])


def test_simulated_scans_are_known_as_such(tmp_path, monkeypatch):
    """Files and micrographs that passband makes of STEM are refused by models for HRTEM, and nnU-Net's channel is named."""
    monkeypatch.chdir(tmp_path)
    c = pb.StemCondition.preset("probe_corrected_300kv").varied(pixel_size_angstrom=0.4)
    folder = pb.simulate_folder("gold_on_carbon", c, "scans", 1, layout="nnunet", split=(1, 0, 0)).folder
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "HAADF"}
    scan = next(folder.glob("images*/*.tif"))
    for given in (scan, pb.simulate("gold_on_carbon", c, 1)[0]):
        with pytest.raises(BadInputError, match="was recorded by scanning"):
            pb.segment("au-300kv", given)
