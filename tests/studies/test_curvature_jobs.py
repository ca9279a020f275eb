"""Measures of a study's networks: the table, resuming, and what is refused."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import passband
from passband.base.errors import BadInputError
from passband.execution.base import Serial
from passband.files.jobs import writing
from passband.learning import predict
from passband.network_measures.expected_scores import expected_dice
from passband.network_measures.network_on_images import NetworkOnImages
from passband.network_measures.registry import MEASURES
from passband.simulation.imaging import normalize
from passband.studies.curvature_jobs import CurvatureJob, measure_study
from passband.studies.folder import StudyFolder
from passband.studies.jobs import test_images as images_of
from support.studies import TINY, Quiet, run, study

_FEW = {"top": 2, "spectrum_images": 2}


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    """A copy of the tiny study, and the table of its networks' measures."""
    folder = tmp_path_factory.mktemp("measured") / "runs"
    shutil.copytree(tiny[1].parent, folder)
    held = StudyFolder.open(folder / "small")
    return held, measure_study(held, Serial(), Quiet(), **_FEW)


def job_folders(held):
    return sorted(held.paths.jobs.glob("curvature-*"))


def test_every_measure_has_its_columns_for_every_pair(measured):
    held, table = measured
    keys = ["train_condition", "test_condition", "seed"]
    columns = {m.name for m in MEASURES.values() if m.of == "pair"}
    columns |= {f"{m.name}_train" for m in MEASURES.values() if m.of == "network"}
    columns |= {f"{m.name}_test" for m in MEASURES.values() if m.of == "network" and not m.at_home_only}
    assert set(table.columns) == columns | set(keys)
    ids = [test.id for test in held.study.tests]
    assert table.select(keys).rows() == [(a, b, 0) for a in ids for b in ids]
    assert pl.read_parquet(held.paths.table("curvature")).equals(table)


def test_values_are_those_of_the_network_on_the_test_images(measured):
    held, table = measured
    network, test = held.training_jobs[0], held.study.tests[2]

    def on(domain):
        counts, masks = images_of(held.study, held.paths, domain)
        return NetworkOnImages(
            network.network(), normalize(counts)[:, None], masks, domain.condition.pixel_size_angstrom, **_FEW
        )

    home, away = on(network.domain), on(test)
    row = table.row(by_predicate=(pl.col("train_condition") == network.domain.id) & (pl.col("test_condition") == test.id),
                    named=True)  # fmt: skip
    for name in ("hessian_grassmann", "gradient_alignment", "prediction_kl", "head_fisher_alignment"):
        assert row[name] == pytest.approx(MEASURES[name].compute(home, away), rel=1e-4), name
    assert row["gradient_norm_train"] == pytest.approx(MEASURES["gradient_norm"].compute(home), rel=1e-5)
    assert row["gradient_norm_test"] == pytest.approx(MEASURES["gradient_norm"].compute(away), rel=1e-5)


def test_seeds_are_compared_with_each_other(measured, tiny, tmp_path, monkeypatch):
    """One network has none to agree with; of two, each agrees with the other as much."""
    _, table = measured
    few = {name: MEASURES[name] for name in ("seed_dice", "fisher_top")}
    monkeypatch.setattr("passband.studies.curvature_jobs.MEASURES", few)
    assert table["seed_dice_test"].is_nan().all()
    shutil.copytree(tiny[1].parent, tmp_path / "runs")
    two = study(tmp_path, ("seeds: 1", "seeds: 2"))
    run(two, tmp_path / "runs/small")
    table = measure_study(StudyFolder.open(tmp_path / "runs/small"), Serial(), Quiet(), **_FEW)
    first, second = table.partition_by("seed")
    assert first["seed_dice_test"].to_list() == pytest.approx(second["seed_dice_test"].to_list())
    assert first["seed_dice_test"].is_between(0, 1).all()


def test_predictions_of_other_specimens_are_not_compared(tmp_path, monkeypatch):
    few = {name: MEASURES[name] for name in ("prediction_dice", "orientation_dice")}
    monkeypatch.setattr("passband.studies.curvature_jobs.MEASURES", few)
    specimens = TINY.partition("specimens:")[2].partition("exit_waves:")[0]
    nested = specimens.replace("\n  ", "\n    ")
    families = f"structures:\n  one:{nested}\n  other:{nested.replace('seed: 3', 'seed: 4')}\n"
    run(study(tmp_path, (f"specimens:{specimens}", families)), tmp_path / "runs/small")
    table = measure_study(StudyFolder.open(tmp_path / "runs/small"), Serial(), Quiet(), **_FEW)
    family = {side: pl.col(f"{side}_condition").str.split("/").list.first() for side in ("train", "test")}
    alike = table.select(family["train"] == family["test"]).to_series()
    assert table.filter(alike)["prediction_dice"].is_between(0, 1).all()
    assert table.filter(~alike)["prediction_dice"].is_nan().all()
    assert table["orientation_dice_test"].is_between(0, 1).all()


def test_layers_add_up_to_the_whole(measured):
    held, table = measured
    layers = pl.read_parquet(held.paths.table("curvature_layers"))
    for (condition,), rows in layers.group_by("train_condition"):
        whole = table.filter(pl.col("train_condition") == condition)["gradient_norm_train"][0]
        assert rows["gradient_norm"].pow(2).sum() ** 0.5 == pytest.approx(whole, rel=1e-5)


def test_finished_work_is_not_done_again(measured):
    held, table = measured
    progress = Quiet()
    assert measure_study(held, Serial(), progress, **_FEW).equals(table)
    assert progress.new["measures"] == 0
    lost = next(f for f in job_folders(held) if (f / "layers.parquet").is_file())
    shutil.rmtree(lost)
    assert measure_study(held, Serial(), progress, **_FEW).equals(table)
    assert progress.new["measures"] == len(held.study.tests)
    assert lost.is_dir()


def test_a_killed_job_leaves_nothing_that_counts(measured, monkeypatch):
    held, table = measured
    lost = job_folders(held)[0]
    shutil.rmtree(lost)

    def killed(job, folder, progress):
        (folder / "table.parquet").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(CurvatureJob, "make", killed)
        measure_study(held, Serial(), Quiet(), **_FEW)
    assert not lost.exists()
    assert measure_study(held, Serial(), Quiet(), **_FEW).equals(table)


def test_without_spectra_the_other_columns_are_the_same(measured, tmp_path):
    held, table = measured
    shutil.copytree(held.paths.root, tmp_path / "runs")
    copy, progress = StudyFolder.open(tmp_path / "runs" / "small"), Quiet()
    rest = measure_study(copy, Serial(), progress, spectra=False, **_FEW)
    assert progress.new["measures"] == 0
    assert "prediction_kl" in rest.columns
    assert "hessian_grassmann" not in rest.columns
    assert rest.equals(table.select(rest.columns))


def refused(held, **options):
    with pytest.raises(BadInputError) as caught:
        measure_study(held, Serial(), Quiet(), **_FEW | options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parameters_out_of_their_limits_are_refused(measured):
    held, _ = measured
    assert "top 21: is not from 1 to 20; choose 1 to 20" in refused(held, top=21)
    assert "spectrum_images 4: is not from 1 to 3" in refused(held, spectrum_images=4)


def test_studies_that_cannot_be_measured_are_refused(measured, tmp_path):
    held, _ = measured
    assert "measured for segmentation" in refused(
        replace(held, study=study(tmp_path, ("seeds: 1", "seeds: 1\ntask: thickness")))
    )
    other = study(tmp_path, ("defocus_angstrom: [-100, 0, 100]", "pixel_size_angstrom: [0.3, 0.4]"))
    assert "pixels of 0.3 and 0.4 Å" in refused(replace(held, study=other))


def test_missing_weights_name_the_command_that_makes_them(measured, tmp_path):
    held, _ = measured
    shutil.copytree(held.paths.root, tmp_path / "runs")
    bare = StudyFolder.open(tmp_path / "runs" / "small")
    shutil.rmtree(bare.training_jobs[0].folder)

    def files():
        """Without the notes of which files are sound."""
        notes = (".cells.json", ".checked.json")
        return {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name not in notes}

    before = files()
    message = refused(bare)
    assert files() == before
    assert "1 of 3 networks" in message
    assert f"make them with: passband study run {bare.paths.folder}" in message


def test_weights_that_are_not_finite_are_refused(measured, tmp_path):
    held, _ = measured
    shutil.copytree(held.paths.root, tmp_path / "runs")
    bad = StudyFolder.open(tmp_path / "runs" / "small")
    job = bad.training_jobs[0]
    weights = load_file(job.folder / "weights.safetensors")
    weights["head.bias"] = torch.full_like(weights["head.bias"], torch.nan)
    others = {p.name: p.read_bytes() for p in job.folder.iterdir() if p.name != "done.json"}
    shutil.rmtree(job.folder)
    with writing(job.folder, {"content": job.content, "seconds": 1.0}) as folder:
        for name, content in others.items():
            (folder / name).write_bytes(content)
        save_file(weights, folder / "weights.safetensors")
    assert "weights head.bias are not all finite" in refused(bad)


def test_the_verb_prints_one_object(call, measured):
    held, table = measured
    words = ["study", "curvature", str(held.paths.folder), "--top", "2", "--spectrum-images", "2", "--workers", "1"]
    code, out, _ = call(*words, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["rows"] == len(table)
    assert answer["table"].endswith("curvature.parquet")
    code, _, err = call(*words[:3], "--top", "21")
    assert code == 2
    assert "--top 21: is not from 1 to 20" in err
    assert len(err.strip().splitlines()) == 1


def test_python_returns_the_table(measured):
    held, table = measured
    assert passband.measure_networks(held.paths.folder, workers=1, **_FEW).equals(table)


def test_fewer_images_have_tables_of_their_own(measured, monkeypatch):
    held, table = measured
    monkeypatch.setattr("passband.studies.curvature_jobs.MEASURES", {"expected_dice": MEASURES["expected_dice"]})
    few = measure_study(held, Serial(), Quiet(), images=2, **_FEW)
    network, test = held.training_jobs[0], held.study.tests[1]
    logits = predict(network.network(), normalize(images_of(held.study, held.paths, test)[0][:2])[:, None])
    pair = (pl.col("train_condition") == network.domain.id) & (pl.col("test_condition") == test.id)
    of_two, of_all = (one.filter(pair)["expected_dice_test"].item() for one in (few, table))
    assert of_two == pytest.approx(float(expected_dice(logits).mean()), rel=1e-5)
    assert of_two != pytest.approx(of_all, rel=1e-5)
    assert pl.read_parquet(held.paths.table("curvature_2_images")).equals(few)
    assert pl.read_parquet(held.paths.table("curvature")).equals(table)
