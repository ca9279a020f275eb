import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageSequence

from passband.metrics import METRICS
from support.studies import SCORE_COLUMNS, study

CONDITION = (
    "energy_ev: 300000\naberrations: {C10: -50, C30: -50000}\nfocal_spread_angstrom: 20\ndose_per_angstrom2: 500\n"
)
RECIPE = "field_angstrom: 25.6\nparticles: {count: [1, 1], diameter_angstrom: [10.0, 12.0]}\nsubstrate: {thickness_angstrom: [4.0, 5.0]}\n"


@pytest.fixture
def condition(tmp_path):
    path = tmp_path / "condition.yaml"
    path.write_text(CONDITION)
    return path


def test_a_small_study_from_its_file_to_its_report(call, tiny, tmp_path):
    """Exit waves are there, and all else is made; test_end_to_end has studies in processes, killed and damaged."""
    study(tmp_path)
    shutil.copytree(tiny[1].parent / "exit_waves", tmp_path / "runs/exit_waves")
    code, _, err = call("study", "status", "runs/small")
    assert (code, err.count("\n")) == (2, 1)
    code, out, err = call("study", "run", "small.yaml", "--workers", "1", "--json")
    answer = json.loads(out)
    assert code == 0, err
    assert pl.read_parquet("runs/small/scores.parquet").columns == SCORE_COLUMNS
    assert pl.read_parquet("runs/small/scores.parquet").equals(pl.read_parquet(tiny[1] / "scores.parquet"))
    assert Path(answer["report"]).stat().st_size > 100_000
    code, out, _ = call("study", "status", "runs/small", "--json")
    assert code == 0 and json.loads(out)["finished"] is True
    Path("runs/small/report.html").unlink()
    assert call("study", "report", "runs/small")[0] == 0 and Path("runs/small/report.html").exists()


def one_line(code, out, err, *words):
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("passband: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_compare_has_the_promised_keys(call, condition, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(CONDITION.replace("-50,", "100,"))
    code, out, err = call("ctf", "compare", condition, other, "--q-max", "1.0", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer.keys() >= {"epsilon_train", "epsilon_test", "delta_epsilon", "sigma_train_test", "sigma_test_train"}
    assert answer["delta_epsilon"] == pytest.approx(answer["epsilon_test"] - answer["epsilon_train"])
    assert answer["defocus_difference_angstrom"] == 150
    assert 0 < answer["sigma_train_test"] != answer["sigma_test_train"] < 1
    code, out, _ = call("ctf", "compare", condition, other)
    assert code == 0 and f"{answer['sigma_train_test']:.4f}" in out


def test_compare_with_a_recipe_adds_predicted_and_reader_loss(call, condition, tmp_path):
    recipe, poor = tmp_path / "small.yaml", tmp_path / "poor.yaml"
    recipe.write_text(RECIPE)
    poor.write_text(CONDITION.replace("dose_per_angstrom2: 500", "dose_per_angstrom2: 50"))
    code, out, err = call("ctf", "compare", condition, poor, "--recipe", recipe, "--json")
    answer = json.loads(out)
    assert code == 0 and "specimens: 44 of 44" in err
    predicted = answer["predicted"]["loss"]
    assert 0 < predicted["low"] < predicted["predicted"] < predicted["high"]
    reader = answer["reader"]
    assert reader["loss"] > reader["in_domain_loss"] and answer["sigma_train_test"] == pytest.approx(1)
    assert reader["relative_loss"] == pytest.approx(reader["loss"] / reader["in_domain_loss"])
    assert reader.keys() >= {"false_positive", "false_negative"} and reader["notes"] == []
    code, out, _ = call("ctf", "compare", condition, poor, "--recipe", recipe)
    assert (
        code == 0
        and f"reader loss            {reader['loss']:.4f}" in out
        and "sigma(train, test)" in out
        and "predicted loss" in out
    )
    assert "reader" not in json.loads(call("ctf", "compare", condition, poor, "--json")[1])
    both = tmp_path / "both.csv"
    both.write_text("energy_ev,defocus,dose_per_angstrom2\n300000,50,500\n300000,80,500\n")
    code, out, err = call("ctf", "compare", both, poor, "--recipe", recipe, "--json")
    assert code == 0 and json.loads(out).keys() >= {"reader", "sigma_pairwise"}, err
    one_line(*call("ctf", "compare", condition, poor, "--recipe", "none"), "none", "bundled recipe")


def test_reader_loss_needs_pixels_of_one_size(call, condition, tmp_path):
    coarse = tmp_path / "coarse.yaml"
    coarse.write_text(CONDITION + "pixel_size_angstrom: 0.8\n")
    code, out, err = call("ctf", "compare", condition, coarse, "--recipe", "gold_on_carbon")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("passband: pixels of 0.4 Å in train and 0.8 Å in test differ")
    assert "specimens" not in err


def test_undefined_sigma_is_null(call, condition, tmp_path):
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("energy_ev: 300000\n")
    code, out, _ = call("ctf", "compare", nothing, condition, "--json")
    assert code == 0 and json.loads(out)["sigma_train_test"] is None


def test_show(call, condition, tmp_path):
    code, out, _ = call("ctf", "show", condition, "--figure", tmp_path / "t.svg", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["wavelength_angstrom"] == pytest.approx(0.019687, abs=1e-6)
    assert answer["condition"]["aberrations"] == {"C10": -50, "C30": -50000}
    # First zero: π λ C10 q² + ½ π λ³ C30 q⁴ = −π.
    lam = answer["wavelength_angstrom"]
    a, b, c = 0.5 * lam**3 * 5e4, lam * 50, -1
    assert answer["first_zero_per_angstrom"] == pytest.approx(
        np.sqrt((-b + np.sqrt(b * b - 4 * a * c)) / (2 * a)), abs=1e-4
    )
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")
    one_line(*call("ctf", "show", condition, "--figure", "t.jpg"), "'.jpg'", ".png, .svg or .html")


def test_coarse_pixel_warns(call, condition):
    code, _, err = call("ctf", "compare", condition, condition, "--q-max", "2")
    assert code == 0 and "record up to 1.25 1/Å, less than --q-max 2" in err


def test_bad_input_is_one_line(call, condition, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("energy_ev: 300\n")
    one_line(*call("ctf", "show", bad), "bad.yaml:1:", "did you mean 300000 eV")
    one_line(*call("ctf", "show", tmp_path / "none.yaml"), "none.yaml: cannot be read")
    one_line(*call("ctf", "compare", condition), "TEST")
    one_line(*call("ctf", "compare", condition, condition, "--q-max", "-1"), "--q-max -1")
    one_line(*call("ctf", "compare", condition, condition, "--qmax", "1"), "--qmax")
    one_line(*call("study", "run", tmp_path / "none.yaml"), "no such file")
    one_line(*call("study", "status", tmp_path), "not a study folder")
    one_line(*call("study", "run", bad, "--workers", "0"), "workers")
    one_line(*call("no-such-verb"), "no-such-verb")
    one_line(*call("study", "run", "x" * 300), "name too long")
    one_line(*call("ctf", "show", condition, "--figure", "none/" + "x" * 300 + ".png"), "name too long")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("study",),
        ("ctf",),
        ("study", "run"),
        ("study", "status"),
        ("study", "report"),
        ("simulate",),
        ("ctf", "show"),
        ("ctf", "compare"),
        ("ctf", "map"),
        ("ctf", "optimize"),
        ("ctf", "convert"),
        ("ctf", "presets"),
        ("study", "rank"),
    ],
)
def test_help_teaches_by_example(call, words):
    code, out, _ = call(*words, "--help")
    assert code == 0
    if len(words) == 2 or words == ("simulate",):
        assert "Example:  passband " + " ".join(words) in " ".join(out.replace("\n", " ").split()).replace(
            "Example: ", "Example:  "
        )


def frames(path):
    with Image.open(path) as stack:
        # ImageJ's scale: pixels per unit, and the unit.
        assert stack.tag_v2[282] == pytest.approx(2.5) and "unit=Angstrom" in stack.tag_v2[270]
        return [np.array(page) for page in ImageSequence.Iterator(stack)]


def test_what_is_stored_for_stem_has_its_own_name(call, tmp_path):
    (tmp_path / "gold.yaml").write_text(RECIPE)
    code, out, _ = call("simulate", "gold.yaml", "--condition", "probe_corrected_300kv", "--count", 1, "--json")
    answer = json.loads(out)
    assert code == 0 and "exit_waves" not in answer
    assert (tmp_path / answer["structure_factors"] / "recipe.json").is_file()


def test_simulate_makes_waves_and_images(call, condition, tmp_path):
    recipe = tmp_path / "gold.yaml"
    recipe.write_text(RECIPE)
    code, out, err = call("simulate", recipe, "--condition", condition, "--count", 3, "--workers", 1, "--json")
    facts = json.loads(out)
    assert code == 0 and "exit waves: 3 of 3" in err
    stack = frames(facts["images"]["images"])
    assert len(stack) == 3
    image = stack[0]
    assert image.shape == (64, 64) and image.dtype == np.float32
    # 500 e/Å² on 0.16 Å² pixels.
    assert image.mean() == pytest.approx(80, rel=0.02)
    assert np.array_equal(image, image.round())
    masks = frames(facts["images"]["masks"])[0]
    assert 0.05 < (masks > 0).mean() < 0.5
    assert facts["manifest"][0]["particles"] == 1
    # Asking for more keeps what is there.
    code, _, err = call("simulate", recipe, "--condition", condition, "--count", 5, "--labels", "--workers", 1)
    with np.load(Path(facts["images"]["images"]).parent / "labels" / "000000.npz") as labels:
        assert np.array_equal(labels["mask"], masks > 0) and labels["instances"].max() == 1
    one_line(*call("simulate", recipe, "--labels"), "--labels: are made with the pixels of images")
    assert code == 0 and "exit waves: 3 of 5 were finished before" in err
    assert np.array_equal(frames(facts["images"]["images"])[0], image)
    one_line(*call("simulate", recipe, "--out", tmp_path), "something other than a simulation")
    one_line(*call("simulate", recipe, "--count", 3), "holds another simulation", "--out")


def test_compare_measures_everything_and_gives_a_verdict(call, condition, tmp_path):
    """Over focus by as much as the training was under: the same |T| to first order, reversed."""
    other = tmp_path / "other.yaml"
    other.write_text(CONDITION.replace("-50,", "50,").replace("C30: -50000", "C30: 50000"))
    code, out, err = call("ctf", "compare", condition, other, "--figure", "c.html", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert {name.removesuffix("_train").removesuffix("_test") for name in answer["metrics"]} == set(METRICS)
    assert answer["sigma_train_test"] == pytest.approx(1) and answer["metrics"]["signed_overlap"] == pytest.approx(-1)
    assert answer["lost_per_angstrom"] == [] and len(answer["reversed_per_angstrom"]) >= 1
    assert answer["verdict"].startswith(
        "the test condition also transfers 100% of what the training condition transfers: 0% with the same contrast and 100% with reversed contrast"
    )
    page = (tmp_path / "c.html").read_text()
    assert "<svg" in page and "reversed contrast" in page and "http" not in page.split("<svg")[0]
    blurred = tmp_path / "blurred.yaml"
    blurred.write_text(CONDITION.replace("spread_angstrom: 20", "spread_angstrom: 60") + "pixel_size_angstrom: 0.3\n")
    code, out, err = call("ctf", "compare", condition, blurred)
    assert (
        code == 0
        and "all of it with the same contrast; lost at" in out
        and "rescale the images to one pixel size" in err
    )


@pytest.mark.slow
def test_sets_of_conditions(call):
    code, out, _ = call("ctf", "compare", "feg_200kv:residuals", "feg_200kv", "--json")
    answer = json.loads(out)
    assert code == 0 and (answer["conditions_train"], answer["conditions_test"]) == (64, 1)
    assert 0 < answer["sigma_pairwise"] < 1 and 0 < answer["sigma_train_test"] < 1


def test_map_finds_the_best_place(call, tmp_path):
    words = ("ctf", "map", "team05_300kv", "--y", "C12=0:40", "--points", "5", "--figure", "m.svg")
    code, out, _ = call(
        *words, "--x", "defocus_angstrom=0:100", "--metric", "sigma", "--train", "team05_300kv", "--json"
    )
    answer = json.loads(out)
    assert code == 0 and answer["best"] == {"defocus_angstrom": 50, "C12": 0, "sigma": pytest.approx(1)}
    assert len(answer["value"]) == 25 and (tmp_path / "m.svg").exists()
    code, out, _ = call(
        *words, "--x", "defocus_angstrom=0:100", "--metric", "phase_rms", "--train", "team05_300kv", "--json"
    )
    assert json.loads(out)["best"]["defocus_angstrom"] == 50
    one_line(*call(*words, "--x", "defocus=5"), "--x defocus 5: is not LOW:HIGH")
    one_line(*call(*words, "--x", "defocus=5:1"), "lower end comes first")
    one_line(*call(*words, "--x", "defokus=0:1"), "cannot vary 'defokus'")
    one_line(*call(*words, "--x", "dose_per_angstrom2=-5:1"), "dose_per_angstrom2")
    one_line(*call(*words, "--x", "defocus=0:1", "--metric", "sigma"), "--train")
    one_line(*call(*words, "--x", "defocus=0:1", "--metric", "gamma"), "not in the registry", "sigma")


@pytest.mark.slow
def test_fit_and_convert(call, tmp_path):
    code, out, _ = call("ctf", "optimize", "feg_200kv", "--vary", "defocus_angstrom", "--out", "best.yaml", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["epsilon"] > answer["epsilon_before"]
    code, out, _ = call("ctf", "show", "best.yaml", "--json")
    assert code == 0 and json.loads(out)["epsilon"] == pytest.approx(answer["epsilon"])
    one_line(*call("ctf", "optimize", "feg_200kv", "--vary", "dose"), "cannot fit 'dose'")
    one_line(*call("ctf", "fit", "feg_200kv", "--vary", "C12"), "`passband ctf fit` is called `passband ctf optimize`")
    code, out, _ = call("ctf", "convert", "titan_corrected_300kv", "--to", "ceos")
    assert code == 0 and "notation: ceos" in out and "C1: -5 nm" in out
    (tmp_path / "screen.yaml").write_text(out)
    code, out, _ = call("ctf", "convert", "screen.yaml", "--json")
    assert json.loads(out)["aberrations"] == {"C10": -50, "C30": -50000}
    one_line(*call("ctf", "convert", "screen.yaml", "--to", "zemlin"), "'zemlin' is not known; known are krivanek")
    one_line(*call("ctf", "show", "titan"), "neither a file nor a preset", "titan_corrected_300kv")
    code, out, _ = call("ctf", "presets", "--json")
    assert code == 0 and "Lentzen" in out


def test_check_of_a_focal_series_answers_for_each_condition(call):
    text = "energy_ev: 300000\nfocal_spread_angstrom: 25\npixel_size_angstrom: 0.4\ndose_per_angstrom2: 400\n"
    Path("series.yaml").write_text(text + "focal_series: {start: 150, stop: 250, step: 50}\n")
    Path("one.yaml").write_text(text + "defocus_angstrom: 200\n")
    _, out, _ = call("check", "au-300kv", "--condition", "one.yaml", "--json")
    one = json.loads(out)
    code, out, _ = call("check", "au-300kv", "--condition", "series.yaml", "--json")
    answer = json.loads(out)
    assert code == (0 if answer["answer"] == "yes" else 1)
    assert [c["subject"] for c in answer["conditions"]] == [f"series.yaml: defocus +{d} Å" for d in (150, 200, 250)]
    assert (
        answer["conditions"][1]["dice"] == pytest.approx(one["dice"])
        and one["answer"] == answer["conditions"][1]["answer"]
    )
    _, out, _ = call("check", "au-300kv", "--condition", "series.yaml")
    lines = out.splitlines()
    assert len(lines) == 3 and lines[1].startswith(
        f"series.yaml: defocus +200 Å: {one['answer']}, Dice {one['dice']['predicted']:.2f};"
    )
