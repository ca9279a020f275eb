"""Every row of the registry keeps what it says of itself."""

from dataclasses import replace

import pytest
import torch

from passband.base.errors import BadInputError
from passband.network_measures.network_on_images import NetworkOnImages
from passband.network_measures.registry import MEASURES
from support.measured_networks import network, pair


def value(measure, home, away):
    return measure.compute(away) if measure.of == "network" else measure.compute(home, away)


def test_names_and_symbols_are_unique_and_sources_named():
    assert all(name == measure.name for name, measure in MEASURES.items())
    assert len({measure.symbol for measure in MEASURES.values()}) == len(MEASURES)
    assert all(measure.source and measure.title for measure in MEASURES.values())


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda m: m.name)
def test_a_measure_depends_on_the_images_and_is_finite(measure):
    home, away = pair()
    first, second = value(measure, home, home), value(measure, home, away)
    assert all(torch.isfinite(torch.tensor(v)) for v in (first, second))
    assert first != pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if not m.needs_labels], ids=lambda m: m.name)
def test_what_needs_no_labels_does_not_see_them(measure):
    home, away = pair()
    blind = replace(away, masks=torch.full_like(away.masks, torch.nan))
    assert value(measure, home, blind) == pytest.approx(value(measure, home, away), rel=1e-9)


@pytest.mark.parametrize(
    "measure", [m for m in MEASURES.values() if m.of == "pair" and not m.same_specimens], ids=lambda m: m.name
)
def test_other_specimens_may_come_in_images_of_another_size(measure):
    home, away = pair()
    cropped = replace(away, images=away.images[..., :12, :12], masks=away.masks[..., :12, :12])
    for one, other in ((home, cropped), (cropped, home)):
        assert torch.isfinite(torch.tensor(measure.compute(one, other)))


def test_bad_networks_are_refused():
    home, _ = pair()
    with pytest.raises(BadInputError, match="training mode"):
        NetworkOnImages(network().train(), home.images, home.masks, home.pixel_size_angstrom)
    model = network()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(BadInputError, match="weights head.bias are not all finite"):
        replace(home, model=model)
