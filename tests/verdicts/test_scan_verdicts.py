"""Verdicts on STEM: of a condition and of a scan, through the machinery of HRTEM, by a model whose loss follows a known law."""

import json

import numpy as np
import pytest

import passband as pb
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.write_tiff import write_tiff
from passband.verdicts.scan_features import on_pixels, scan_features
from passband.verdicts.session_plan import plan_session
from passband.verdicts.summary import evaluate_held_out
from passband.verdicts.verdict_model import VerdictModel
from support import made


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made.scanned_model(tmp_path_factory.mktemp("scans") / "made")


def at(**values):
    return made.HAADF.varied({"defocus": 30.0, "dose": 1500.0} | values)


def test_the_law_is_predicted(model):
    judge = VerdictModel(model)
    good, bad = judge.check(at()), judge.check(at(defocus=250.0))
    assert good.answer == "yes" and good.dice.covers(float(np.exp(-made.law(at(), np.random.default_rng(0)))))
    assert bad.answer == "no" and bad.dice.predicted < good.dice.predicted and bad.dice.low < bad.dice.high
    held = evaluate_held_out(judge, "condition")
    assert held.asked >= 8 and held.coverage_dice >= 0.8 and held.r2_log_loss > 0.8


def test_reasons_are_those_of_a_probe(model):
    judge = VerdictModel(model)
    low = {s.kind for s in judge.check(at(dose=110.0)).reasons}
    blunt = judge.check(at(defocus=250.0))
    assert "dose" in low and "blunt" in {s.kind for s in blunt.reasons}
    assert not {"epsilon", "lost", "reversed", "film"} & {s.kind for s in blunt.reasons}
    assert blunt.nearest is None
    assert {s.kind for s in blunt.remedies} <= {"defocus", "raise_dose", "retrain"} and blunt.remedies


@pytest.mark.parametrize(
    ("values", "kind", "parameter"),
    [
        ({"energy_ev": 80e3}, "energy", "energy_ev"),
        ({"C12": 900.0}, "outside", "C12"),
        ({"dose": 5.0}, "outside", "dose_per_angstrom2"),
        ({"source_size": 3.0}, "outside", "source_size_angstrom"),
        ({"convergence_semiangle": 12.0}, "outside", "convergence_semiangle_mrad"),
        ({"inner_mrad": 100.0}, "outside", "inner_mrad"),
        ({"pixel_size": 1.6}, "outside", "pixel_size_angstrom"),
        ({"kind": "adf"}, "detector", "kind"),
    ],
)
def test_what_lies_outside_is_not_answered(model, values, kind, parameter):
    verdict = VerdictModel(model).check(at(**values))
    assert verdict.answer == "cannot say" and verdict.dice is None
    assert (kind, parameter) in {(s.kind, s.parameter) for s in verdict.cannot_say}
    assert str(verdict)


def test_a_finer_scan_is_resampled(model):
    fine = at(pixel_size=0.2, line_jitter=0.2)
    assert on_pixels(fine, 0.8).line_jitter_angstrom == pytest.approx(0.1)
    assert on_pixels(at(line_jitter=0.2), 0.8).line_jitter_angstrom == pytest.approx(0.2)
    assert VerdictModel(model).check(at(pixel_size=0.2)).dice == VerdictModel(model).check(at()).dice


def test_features_of_a_perfect_probe_are_its_transfer(model):
    """Without aberrations the OTF of a disc is the overlap of two discs (Goodman), at the depth of the specimens' middle."""
    card = model.card
    behind = (20 + 30 + 14 + 28) / 4
    values = scan_features(card, [made.HAADF.varied(C10=-behind, source_size=0.0)])
    q = 0.6 * np.array([0.1, 0.25, 0.45, 0.75]) / made.HAADF.cutoff_per_angstrom
    overlap = 2 / np.pi * (np.arccos(q) - q * np.sqrt(1 - q**2))
    assert [values[f"transfer_{i}"][0] for i in range(4)] == pytest.approx(overlap, abs=2e-3)
    assert values["roundness"][0] == pytest.approx(1, abs=1e-2)


def test_a_scan_in_a_file_gets_a_verdict_of_the_same_shape(model, tmp_path, call):
    scan = np.random.default_rng(1).poisson(40.0, (80, 80)).astype(np.float32)
    write_tiff(tmp_path / "scan.tif", scan, 0.8)
    code, out, _ = call("check", model.folder, "scan.tif", "--json")
    answer = json.loads(out)
    [image] = answer["images"]
    assert image["answer"] == answer["answer"] and code == (0 if image["answer"] == "yes" else 1)
    assert {"answer", "zone", "loss", "dice", "reasons", "cannot_say", "assumed", "advice", "estimated"} <= set(image)
    assert image["estimated"] is None and image["based_on"] == "image"
    # As the law has it: an image whose features are those of a small loss.
    judge = VerdictModel(model)
    features = np.full((1, 16), 5 + np.log(0.11))
    assert not judge.image_objections(features, "image1", 0.3)
    assert judge.predict(features, "image1").zone == "stable"
    # A file that says that it is a scan is no fault, and its energy has to be a known one.
    verdict = judge.check_image(Micrograph(scan, 0.8, 200e3, scanned=True))
    assert "the energy is 200000 eV; the model was calibrated at 300000 eV" in str(verdict)


def test_a_condition_in_a_file_and_one_of_the_other_modality(model, tmp_path, call):
    (tmp_path / "scan.yaml").write_text(json.dumps(at().to_dict()))
    code, out, _ = call("check", model.folder, "--condition", "scan.yaml", "--json")
    answer = json.loads(out)
    assert (code, answer["answer"]) == (0, "yes") and set(answer["dice"]) == {"predicted", "low", "high"}
    with pytest.warns(UserWarning, match="pixel_size_angstrom 0.8 is coarser than"):
        assert pb.check(model, tmp_path / "scan.yaml").dice == pb.check(model, at()).dice
    code, _, err = call("check", model.folder, "--condition", "titan_corrected_300kv")
    assert code == 2 and "made: is for STEM, and the condition is of HRTEM" in err
    code, _, err = call("check", "au-300kv", "--condition", "scan.yaml")
    assert code == 2 and "au-300kv: is for HRTEM, and the condition is of STEM" in err
    with pytest.raises(pb.BadInputError, match="this is for HRTEM"):
        plan_session([VerdictModel(model)])
