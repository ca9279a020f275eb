"""The estimate for twice as many images, on curves whose law is known."""

import json

import numpy as np
import polars as pl
import pytest

from passband.figures import style
from passband.models.learning_curve import SCORES, LearningCurve, continued

SIZES = (1, 2, 4, 8, 12)


def curve(law, count=16, noise=0.0, seed=0, sizes=SIZES):
    """Scores of images that are easier or harder by a factor of the error, and of folds whose subsets are luckier or not."""
    rng = np.random.default_rng(seed)
    image, rows = np.exp(rng.normal(0, noise, count)), []
    for n in (0, *sizes):
        lucky = np.exp(rng.normal(0, noise / 3, 4))
        for i in range(count):
            error = min((0.5 if n == 0 else law(n)) * image[i] * lucky[i % 4], 1.0)
            rows.append({"images": n, "fold": i % 4, "image": f"shot {i:02}"} | dict.fromkeys(SCORES, 1 - error))
    return LearningCurve("made", tuple(f"shot {i:02}" for i in range(count)), pl.DataFrame(rows))


def test_a_power_law_of_the_error_is_continued():
    made = curve(lambda n: 0.2 * n**-0.5)
    assert made.points[4]["dice"].value == pytest.approx(0.9) and made.sizes == [0, *SIZES]
    assert [made.estimates[n]["dice"].value for n in (16, 32)] == pytest.approx([1 - 0.2 * n**-0.5 for n in (16, 32)])
    assert made.test["dice"] == (pytest.approx(1 - 0.2 * 12**-0.5),) * 2
    assert made.gain.value == pytest.approx(0.2 * (16**-0.5 - 32**-0.5))
    # Networks that become worse with more labels are not continued downwards, nor perfect ones beyond 1.
    assert continued(np.array([0.9, 0.8]), [1, 2], 4) == pytest.approx(0.8)
    assert continued(np.array([0.9, 1.0]), [1, 2], 4) == 1


def test_a_line_that_misses_the_last_point_widens_the_interval():
    made = curve(lambda n: max(0.2 / n, 0.03))
    estimated, measured = made.test["dice"]
    twice = made.estimates[32]["dice"]
    assert estimated - measured > 0.005 and twice.high == pytest.approx(min(twice.value + estimated - measured, 1))
    # The curve may end where it is.
    assert twice.low < 0.97 < twice.value


@pytest.mark.parametrize("law", [lambda n: 0.15 * n**-0.3, lambda n: 0.03 + 0.12 / n, lambda n: 0.06])
def test_the_interval_of_the_estimate_holds_as_often_as_it_says(law):
    # Of the mean over many images, with noise of images and of subsets.
    truth = 1 - law(32) * np.exp(0.3**2 / 2 * (1 + 1 / 9))
    inside = 0
    for seed in range(40):
        twice = curve(law, noise=0.3, seed=seed).estimates[32]["dice"]
        inside += twice.low <= truth <= twice.high
    assert inside >= 32


def test_text_page_data_and_plot_say_the_same():
    made = curve(lambda n: 0.2 * n**-0.5, noise=0.2)
    row = next(line for line in str(made).splitlines() if line.startswith("32, estimated"))
    twice = made.estimates[32]["dice"]
    assert f"{twice.value:.3f} [{twice.low:.3f}, {twice.high:.3f}]" in row and f"<td>{twice}</td>" in made._repr_html_()
    content = json.loads(json.dumps(made.to_dict()))
    assert content["estimates"][1]["images"] == 32 and content["estimates"][1]["dice"]["value"] == twice.value
    assert content["points"][1] | {"networks": 4} == content["points"][1] and content["points"][0]["networks"] == 1
    with style.figure(5, 3) as figure:
        ax = made.plot(figure.subplots())
        figure.canvas.draw()
        labels = [tick.get_text() for tick in ax.get_yticklabels()]
        drawn = [bars.lines[0].get_ydata() for bars in ax.containers]
    assert labels[2] == "0.8" and labels[-1] == "≥ 0.998"
    assert len(drawn) == 2 * len(SCORES)
    np.testing.assert_allclose(drawn[0], [1 - p["dice"].value for p in made.points.values()])
    assert drawn[1][-1] == pytest.approx(1 - twice.value)


def test_few_numbers_of_images_give_no_estimate_or_no_test():
    assert not curve(lambda n: 0.1, sizes=(1,)).estimates and curve(lambda n: 0.1, sizes=(1,)).gain is None
    two = curve(lambda n: 0.1 / n, sizes=(1, 2))
    assert two.estimates and two.test is None and "tested" not in str(two)
