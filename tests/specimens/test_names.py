import pytest

from passband.base.errors import BadInputError
from passband.specimens.crystals import check_element
from passband.specimens.substrates import check_support


@pytest.mark.parametrize(
    ("symbol", "remedy"),
    [("Xx", "did you mean Xe"), ("gold", "did you mean Au?"), ("AU", "did you mean Au"), ("X", "")],
)
def test_what_is_no_element_is_refused_with_what_was_meant(symbol, remedy):
    with pytest.raises(BadInputError, match="is not a chemical element") as fault:
        check_element(symbol)
    assert remedy in str(fault.value) and fault.value.parameters == ("elements",)


@pytest.mark.parametrize(
    ("material", "remedy"),
    [
        ("wood", "give one of carbon, silica, silicon_nitride, none"),
        ("Si3N4", "carbon"),
        ("silca", "did you mean silica"),
    ],
)
def test_unknown_supports_are_refused_with_the_known_ones(material, remedy):
    with pytest.raises(BadInputError, match="is not a known material") as fault:
        check_support(material)
    assert remedy in str(fault.value) and fault.value.parameters == ("support",)


def test_what_is_known_passes():
    for symbol in ("Au", "C", "Pt"):
        check_element(symbol)
    for material in ("carbon", "Silica", "none"):
        check_support(material)
    check_support("graphene", "graphene")
