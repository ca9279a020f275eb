"""Networks are scored on the pictures that users have: under an astigmatism its direction matters."""

import numpy as np
import pytest
import torch

from passband.base.identity import seed_from
from passband.conditions import Condition
from passband.execution.base import Serial
from passband.learning import predict
from passband.models.external import import_onnx
from passband.simulation.hrtem import Imager
from passband.simulation.imaging import normalize
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe
from passband.studies.paths import StudyPaths
from passband.studies.wave_jobs import make_waves, open_wave_set, read_waves
from passband.verdicts.calibration import CalibrationJob
from passband.verdicts.features import as_seen, image_features
from support import made
from support.networks import DESCRIPTION, convolution
from support.studies import Quiet

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 51.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [20.0, 24.0]},
        "substrate": {"thickness_angstrom": [10.0, 12.0]},
    }
)
CONDITION = Condition(
    energy_ev=300e3,
    aberrations={"C10": -100.0, "C12": 200.0, "phi12": 0.0},
    focal_spread_angstrom=25.0,
    pixel_size_angstrom=0.8,
    dose_per_angstrom2=2000.0,
)


@pytest.fixture(params=["passband", "onnx"])
def model(request, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    if request.param == "passband":
        return made.bare_model(tmp_path / "made")
    (tmp_path / "theirs.yaml").write_text(DESCRIPTION.replace("field_pixels: 32", "field_pixels: 64"))
    return import_onnx(convolution(tmp_path / "theirs.onnx"), tmp_path / "theirs.yaml")


def test_scores_and_features_are_those_of_the_pictures(model, tmp_path):
    waves = open_wave_set(RECIPE, ExitWaveConfig(energy_ev=300e3, phonon_configurations=1), tmp_path)
    make_waves(waves, 2, waves.missing(2), Serial(), Quiet(), memory=10**9)
    weights, paths = model.card.files[model.weights.name], StudyPaths(tmp_path / "work")
    job = CalibrationJob(model.folder, weights, None, waves, (0, 2), (("trained", CONDITION),), paths)
    paths.jobs.mkdir(parents=True)
    job.run(lambda units: None)
    row = job.table().to_dicts()[0]
    seed = seed_from("score", as_seen(CONDITION, model.card).id)
    images = Imager(CONDITION, RECIPE.field_angstrom, waves.config).images(*read_waves(waves, 0, 2), seed=seed)
    pictures, truth = images.arrays()
    scores = model.predict(pictures).score(truth)
    assert scores["loss"].mean() == pytest.approx(row["loss"], rel=1e-5)
    assert scores["tp"].to_list() != model.predict(images.counts.numpy()).score(images.masks.numpy())["tp"].to_list()
    logits = predict(model.network, normalize(torch.from_numpy(pictures))[:, None])
    features = image_features(torch.from_numpy(pictures), logits, model.card.threshold)
    np.testing.assert_allclose(row["image4"], features, rtol=1e-4)
