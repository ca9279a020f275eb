"""The card of a verdict: what is written on it, and that all of it fits."""

from dataclasses import replace
from datetime import date
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from passband.app import verdict_card
from passband.app.analyze import Analysis, add_estimate, add_segmentation, add_verdict, with_particles
from passband.micrographs.micrograph import Micrograph
from passband.verdicts.verdict_model import VerdictModel

DAY = date(2026, 11, 28)


@pytest.fixture(scope="module")
def seen(scored_model):
    rng = np.random.default_rng(0)
    image = rng.poisson(100 - 30 * (np.hypot(*(np.mgrid[:160, :200] - 80)) < 20)).astype(np.float32)
    shot = Micrograph(image, 0.8, energy_ev=300e3, name="gold.tif")
    judge = VerdictModel(scored_model)
    result = add_segmentation(Analysis(shot, 1, shot.grey()[0][::-1]), scored_model)
    return add_verdict(add_estimate(result, judge), judge)


def written(seen):
    return "\n".join(line.text for line in verdict_card._lines(seen, DAY))


def test_the_card_says_what_the_page_says(seen):
    text, verdict = written(seen), seen.verdict
    for part in ("gold.tif", "16 × 12.8 nm", "2026-11-28", str(seen.segmentation), "made"):
        assert part in text
    assert verdict.answer in text and "by hand" not in text
    if verdict.dice is not None:
        assert f"{verdict.dice.predicted:.3f}" in text and f"{verdict.dice.low:.3f} to {verdict.dice.high:.3f}" in text
    for why in (*verdict.reasons, *verdict.cannot_say):
        assert str(why) in text or "power" in str(why)
    corrected = with_particles(seen, seen.segmentation)
    assert "corrected by hand" in written(corrected)


def test_the_card_is_a_picture_with_the_overlay_and_all_lines_fit(seen):
    long = replace(seen, micrograph=replace(seen.micrograph, name="x" * 180 + ".tif"))
    for analysis in (seen, long, replace(seen, segmentation=None, verdict=None, estimate=None)):
        card = Image.open(BytesIO(verdict_card.verdict_card(analysis, DAY)))
        assert card.format == "PNG" and card.width == 900 + 720 + 3 * 36 and card.height >= 900
        # The margins are free.
        pixels = np.asarray(card)
        assert (pixels[:, -20:] == 255).all() and (pixels[-34:] == 255).all()
        assert pixels[300:400, 300:400].std() > 5
    for line in verdict_card._lines(long, DAY):
        assert all(line.font.getlength(part) <= 720 for part in verdict_card._wrapped(line))
        assert "".join(verdict_card._wrapped(line)).replace(" ", "") == line.text.replace(" ", "")


def test_what_is_not_known_is_left_out():
    shot = Micrograph(np.random.default_rng(0).random((96, 96), dtype=np.float32), 0.8)
    assert verdict_card.verdict_card(Analysis(shot, 1, shot.grey()[0]), DAY)[:4] == b"\x89PNG"
