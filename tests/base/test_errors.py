"""Errors name a parameter in the way of whoever shows them."""

import pickle

from passband.base.errors import BadInputError, parameter
from passband.cli.options import option


def make():
    return BadInputError(
        "a pixel size of 0 Å is outside 0.01 to 100 Å",
        value=0.0,
        limit=(0.01, 100.0),
        remedy=f"give the right one with {parameter('pixel_size_angstrom')}",
        place="image.tif",
    )


def test_each_interface_names_the_parameter():
    start = "image.tif: a pixel size of 0 Å is outside 0.01 to 100 Å; give the right one with "
    assert str(make()) == start + "pixel_size_angstrom"
    assert make().text(option) == start + "--pixel-size"
    assert (
        make().text({"pixel_size_angstrom": "the field “pixel size”"}.__getitem__) == start + "the field “pixel size”"
    )
    assert make().parameters == ("pixel_size_angstrom",)


def test_fields_survive_another_process():
    back = pickle.loads(pickle.dumps(make()))
    assert str(back) == str(make())
    assert (back.value, back.limit, back.place, back.parameters) == (0.0, (0.01, 100.0), "image.tif", make().parameters)


def test_a_whole_message_is_a_message():
    assert str(BadInputError("study.yaml:3: seeds: 0 is less than 1")) == "study.yaml:3: seeds: 0 is less than 1"


def test_options_are_the_parameters_without_their_units():
    assert [option(p) for p in ("energy_ev", "dose_per_angstrom2", "folder", "frames")] == [
        "--energy",
        "--dose",
        "--out",
        "--frames",
    ]
