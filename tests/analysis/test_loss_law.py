"""The law of the loss on made-up studies, whose truth is known."""

import json

import pytest
import torch

from passband.analysis.loss_law import LossLaw, LossSquare, fit_law
from passband.base.errors import BadInputError
from passband.metrics.texture import Texture


def textures(n, seed):
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 2 - 1
    ramp = torch.linspace(-1, 1, 11, dtype=torch.float64)
    film = place[:, :1] * ramp - 3
    return place, Texture(film, film + place[:, 1:] + 1)


def made_up(n, seed, noise=0.0):
    """A study whose loss grows with the distance of test from training, more where the film is new."""
    place, seen = textures(n, seed)
    difference = place[None] - place[:, None]
    loss = -2 + 0.5 * place[None, :, 1] + difference.square().sum(-1).sqrt() + 0.5 * difference[..., 0]
    return LossSquare(seen, seen, loss + noise * torch.randn(n, n, generator=torch.Generator().manual_seed(seed)))


def r2(truth, predicted):
    return float(1 - (truth - predicted).square().sum() / (truth - truth.mean()).square().sum())


def test_a_law_predicts_domains_that_it_has_not_seen_and_its_interval_holds():
    law = fit_law([made_up(40, 1, noise=0.1), made_up(30, 2, noise=0.1)])
    held_out = made_up(40, 3, noise=0.1)
    said = law.predict(held_out.train, held_out.test)
    assert r2(held_out.log_loss, said.log_loss) > 0.85
    assert said.known.double().mean() > 0.9
    within = ((held_out.log_loss > said.low) & (held_out.log_loss < said.high)).double().mean()
    assert 0.84 < within < 0.97


def test_a_law_of_noise_predicts_nothing():
    _, seen = textures(40, 1)
    noise = torch.randn(40, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    law = fit_law([LossSquare(seen, seen, noise)])
    _, others = textures(40, 2)
    fresh = torch.randn(40, 40, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    assert r2(fresh, law.predict(others, others).log_loss) < 0.01


def test_what_is_like_nothing_fitted_is_unknown():
    law = fit_law([made_up(40, 1)])
    _, seen = textures(3, 7)
    strange = Texture(seen.film + 8, seen.particle - 8)
    said = law.predict(seen, strange)
    assert not said.known.any()
    assert ((said.high - said.low) >= law.predict(seen, seen).high - law.predict(seen, seen).low).all()


def test_a_law_survives_its_file(tmp_path):
    law = fit_law([made_up(20, 1)])
    law.save(tmp_path / "law.json")
    _, seen = textures(5, 4)
    again = LossLaw.load(tmp_path / "law.json").predict(seen, seen)
    torch.testing.assert_close(again.log_loss, law.predict(seen, seen).log_loss)
    (tmp_path / "law.json").write_text(json.dumps({"centre": []}))
    with pytest.raises(BadInputError, match="no law of the loss"):
        LossLaw.load(tmp_path / "law.json")


def test_missing_losses_are_refused():
    study = made_up(10, 1)
    study.log_loss[3, 4] = torch.nan
    with pytest.raises(BadInputError, match="every loss"):
        fit_law([study])
