"""The Python side: whatever holds an image gives the same answer."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import passband
from passband.base.errors import BadInputError
from passband.files import yaml_config
from passband.models import network as module
from support import made
from support.studies import passband as cli

ROOT = Path(__file__).parents[1]


class Signal:
    """What of a HyperSpy signal is read."""

    def __init__(self, data):
        self.data, self.metadata, self.axes_manager = data, self, self

    def as_dictionary(self):
        rest = {"scale": 0.08, "units": "nm", "offset": 0.0, "navigate": False}
        sizes = zip("yx", self.data.shape, strict=True)
        return {f"axis-{i}": {"name": name, "size": size, **rest} for i, (name, size) in enumerate(sizes)}


class Bright(torch.nn.Module):
    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return 8 * (images - 1.0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    return made.bare_model(tmp_path / "made")


@pytest.fixture
def image():
    y, x = np.mgrid[:128, :96] * 0.8
    disc = (x - 40) ** 2 + (y - 50) ** 2 < 15**2
    return (100 + 50 * disc + np.random.default_rng(0).normal(0, 3, disc.shape)).astype(np.float32)


def test_arrays_signals_files_and_micrographs_are_alike(model, image, tmp_path):
    file = tmp_path / "image.tif"
    tifffile.imwrite(file, image, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
    [micrograph] = passband.read_micrographs(file)
    found = passband.segment(model, image, pixel_size_angstrom=0.8)
    assert len(found.particles) == 1
    for other in (Signal(image), file, str(file), micrograph):
        np.testing.assert_allclose(passband.segment(model.folder, other).probability, found.probability, atol=1e-4)


def test_a_signal_comes_out_where_hyperspy_is(model, image):
    found = passband.segment(model, image, pixel_size_angstrom=0.8)
    try:
        out = passband.to_signal(found)
    except BadInputError as error:
        assert "pip install hyperspy" in str(error)
    else:
        assert [a.scale for a in out.axes_manager.signal_axes] == [pytest.approx(0.08)] * 2
        np.testing.assert_array_equal(out.data, found.probability)


def test_what_is_not_one_image(model, image):
    with pytest.raises(BadInputError, match="holds 2 images"):
        passband.segment(model, np.stack([image, image]), pixel_size_angstrom=0.8)
    with pytest.raises(BadInputError, match="pixel"):
        passband.segment(model, image)
    with pytest.raises(BadInputError, match="either a condition or an image"):
        passband.check(model)


def test_reader_loss_takes_conditions_files_and_images(tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "field_angstrom: 25.6\nparticles: {diameter_angstrom: [10.0, 12.0]}\nsubstrate: {thickness_angstrom: [4.0, 5.0]}\n"
    )
    condition = passband.Condition(energy_ev=300e3, aberrations={"C10": -50.0}, focal_spread_angstrom=20.0)
    (tmp_path / "condition.yaml").write_text(yaml_config.dump(condition))
    answer = passband.reader_loss(condition, [condition, condition.varied(defocus=90)], recipe)
    assert 0 < answer.in_domain_loss < 1 and answer.to_dict()["relative_loss"] == answer.relative_loss
    assert passband.reader_loss(tmp_path / "condition.yaml", condition, str(recipe)).relative_loss == 1
    images = passband.simulate(recipe, condition, n=7)
    assert passband.reader_loss(images, images).relative_loss == 1
    own = passband.LabelledImages(images.images, images.masks, 0.4)
    assert passband.reader_loss(condition, own, recipe) == passband.reader_loss(condition, images, recipe)
    with pytest.raises(BadInputError, match="a list is no condition|a int is no condition"):
        passband.reader_loss([1], condition, recipe)


def test_names_are_there_and_no_others():
    assert set(passband.__all__) <= set(dir(passband))
    for name in passband.__all__:
        assert callable(getattr(passband, name))
        assert getattr(passband, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = passband.nothing


def test_sweeps_are_grids_of_conditions():
    grid = passband.sweep("titan_corrected_300kv", defocus=range(-50, 51, 50), dose=np.array([100, 200]))
    assert len(grid.conditions()) == 6
    assert list(grid.vary) == ["defocus_angstrom", "dose_per_angstrom2"]
    with pytest.raises(BadInputError, match="cannot vary 'defokus'"):
        passband.sweep("titan_corrected_300kv", defokus=[1, 2])
    assert len(passband.sweep("titan_corrected_300kv", defocus=50).conditions()) == 1


@pytest.mark.slow
def test_what_is_compared_may_be_one_or_many():
    train = passband.Condition.preset("feg_200kv")
    one = passband.compare(train, train.varied(defocus=100), q_max_per_angstrom=0.5)
    assert one.to_dict()["q_max_per_angstrom"] == 0.5
    several = passband.compare([train], [train, train.varied(defocus=100)])
    assert several.conditions_test == 2 and several.sigma_train_test > 0
    assert passband.compare(train, "feg_200kv:residuals").conditions_test == 64
    with pytest.raises(BadInputError, match="q_max_per_angstrom 20: outside 0 to 10") as fault:
        passband.compare(train, train, q_max_per_angstrom=20)
    assert fault.value.value == 20 and fault.value.limit == (0.0, 10.0)
    with pytest.raises(BadInputError, match="a int is no condition"):
        passband.compare(train, [3])


def test_bundled_recipes_and_studies_are_found_by_name():
    recipe = passband.load_recipe("gold_on_carbon")
    assert (
        recipe
        == passband.load_recipe(ROOT / "studies/recipes/au_on_carbon.yaml")
        == passband.load_recipe("au_on_carbon")
    )
    with pytest.raises(BadInputError, match=r"silver_on_carbon: neither a file nor a bundled recipe.*gold_on_carbon"):
        passband.load_recipe("silver_on_carbon")
    assert passband.load_study("quick").specimens == recipe
    for name in passband.list_recipes():
        passband.load_recipe(name)
    for name in passband.list_studies():
        passband.load_study(name)


def test_images_in_memory_are_those_of_the_command_line(tmp_path):
    words = ("simulate", "gold_on_carbon", "--condition", "titan_corrected_300kv", "--count", "1", "--workers", "1")
    assert cli(*words, "--out", "out", cwd=tmp_path).returncode == 0
    images = passband.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
    np.testing.assert_array_equal(images.images[0], tifffile.imread(tmp_path / "out" / "images.tif"))
    np.testing.assert_array_equal(images.masks[0], tifffile.imread(tmp_path / "out" / "masks.tif") > 0)
    [micrograph] = images
    assert micrograph.pixel_size_angstrom == images.pixel_size_angstrom == 0.4
    assert micrograph.dose_per_angstrom2 == images.condition.dose_per_angstrom2


def test_a_study_takes_the_energy_of_its_conditions_and_names_its_faults():
    conditions = passband.sweep("feg_200kv", defocus=[0, 50], pixel_size=0.4)
    assert passband.Study(specimens="gold_on_carbon", conditions=conditions).exit_waves.energy_ev == 200e3
    with pytest.raises(BadInputError, match="study: seeds: Input should be greater than or equal to 1"):
        passband.Study(specimens="gold_on_carbon", conditions=conditions, seeds=0)


def test_results_of_a_study_before_it_ran(tmp_path):
    with pytest.raises(BadInputError, match="no such file or folder"):
        passband.open_study(tmp_path / "none")
    (tmp_path / "study.yaml").write_text(yaml_config.dump(passband.load_study("quick")))
    with pytest.raises(BadInputError, match="the study has no results yet; run it to its end"):
        _ = passband.open_study(tmp_path).scores


def test_calibration_given_beside_a_micrograph_replaces_its_own():
    shot = passband.micrograph(
        np.random.default_rng(0).poisson(50, (128, 128)), pixel_size_angstrom=0.4, energy_ev=200e3
    )
    assert passband.micrograph(shot, energy_ev=80e3).energy_ev == 80e3
    assert passband.micrograph(shot, pixel_size_angstrom=0.8).pixel_size_angstrom == 0.8
    assert passband.micrograph(shot).energy_ev == 200e3
    for wrong in (-1.0, 0.0):
        with pytest.raises(passband.BadInputError):
            passband.micrograph(shot, pixel_size_angstrom=wrong)


def test_a_value_under_two_names_is_refused():
    condition = passband.Condition(energy_ev=300e3)
    with pytest.raises(passband.BadInputError, match="C10 and defocus both set C10"):
        condition.varied(C10=80, defocus=3)
    with pytest.raises(passband.BadInputError, match="'80', not a number"):
        condition.varied(defocus="80")


def test_a_specimen_by_its_fields():
    condition = passband.Condition.preset("titan_corrected_300kv")
    assert passband.check("au-300kv", condition, specimen={"elements": ["au"]}).answer == "yes"
    assert passband.check("au-300kv", condition, specimen=passband.SpecimenInfo(elements="AU")).answer == "yes"
    for specimen, message in (
        ({"element": ["Au"]}, "specimen has no 'element'; known are elements, support"),
        ({"thickness_angstrom": -3}, "thickness_angstrom -3 is no length"),
        ("Au", "specimen is a str; give a SpecimenInfo"),
    ):
        with pytest.raises(BadInputError, match=message):
            passband.check("au-300kv", condition, specimen=specimen)
    with pytest.raises(BadInputError, match="dose_per_angstrom2 describe an image"):
        passband.check("au-300kv", condition, dose_per_angstrom2=5)


def test_bad_values_are_one_line():
    for make, message in (
        (lambda: passband.Condition(energy_ev=300), "energy is 300 eV, outside .* did you mean 300000 eV"),
        (lambda: passband.Condition(energy_ev=3e5, dose=3), "unknown key 'dose'; did you mean 'dose_per_angstrom2'"),
        (lambda: passband.Condition(), "energy_ev: is missing"),
        (lambda: passband.Condition(energy_ev=3e5).varied(dose=-3), "dose_per_angstrom2: .*greater than 0, got -3"),
        (lambda: passband.Detector(mtf=2), "2 is outside 0 to 1"),
        (lambda: passband.sweep("feg_200kv", defocus=[0, 1], defocus_angstrom=[2, 3]), "given twice"),
        (lambda: passband.sweep("feg_200kv", dose=[0, 1], dose_per_angstrom2=[2, 3]), "given twice"),
        (lambda: passband.sweep("feg_200kv", defocus=["x", 1]), "neither a number nor a list"),
        (lambda: passband.sweep("feg_200kv", dose=[-1, 1]), "a varied condition is not valid: dose_per_angstrom2"),
        (lambda: passband.optimize("feg_200kv", "defocus", "C10"), "same value"),
        (lambda: passband.Study(specimen="gold_on_carbon"), "study: unknown key 'specimen'"),
    ):
        with pytest.raises(BadInputError, match=message) as fault:
            make()
        assert "\n" not in str(fault.value)


def test_stem_conditions_load_and_are_refused_where_hrtem_is_wanted():
    name = "probe_corrected_300kv"
    stem = passband.StemCondition.preset(name)
    assert passband.load_condition(name) == stem and name in passband.list_presets()
    for make in (
        lambda: passband.compare(stem, stem),
        lambda: passband.compare("feg_200kv", passband.sweep(name, defocus=[0, 50])),
        lambda: passband.optimize(stem, "defocus"),
    ):
        with pytest.raises(BadInputError, match="^a STEM condition is given; give one of HRTEM"):
            make()
    with pytest.raises(BadInputError, match=f"^{name}: is .*STEM"):
        passband.compare("feg_200kv", name)


def test_recipes_and_studies_print_as_their_files(tmp_path):
    for thing, load in (
        (passband.load_recipe("gold_on_carbon"), passband.load_recipe),
        (passband.load_study("quick"), passband.load_study),
    ):
        (tmp_path / "file.yaml").write_text(str(thing))
        assert load(tmp_path / "file.yaml") == thing and len(str(thing).splitlines()) > 5


def test_what_is_doubtful_about_a_file_is_a_warning(tmp_path):
    (tmp_path / "a.yaml").write_text("notation: ctffind\nvoltage_kv: 300\ndefocus_u: 900\n")
    with pytest.warns(UserWarning, match="a.yaml: the pixel size is not given"):
        passband.load_condition(tmp_path / "a.yaml")
