from datetime import datetime

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from passband.figures import (
    losses,
    matrix,
    session_course,
    session_plane,
    size_histogram,
    specimen_sheet,
    style,
    transfer,
)
from passband.figures.matrix import short_labels


def test_labels_lose_what_they_share():
    assert short_labels(["defocus -50 Å", "defocus +50 Å"]) == ("defocus [Å]", ["−50", "+50"])
    labels = ["C12 0 Å, focal spread 20 Å", "C12 60 Å, focal spread 20 Å"]
    assert short_labels(labels) == ("C12 [Å] / focal spread [Å]", ["0 / 20", "60 / 20"])


def pairs():
    labels = ["defocus -50 Å", "defocus 0 Å", "defocus +50 Å"]
    rows = [
        {"train_condition": a, "test_condition": b, "train_label": a, "test_label": b, "seed": s, "loss": 0.1 * (i + 1) + 0.01 * j + 0.002 * s,
         "dice": 0.9, "sigma": 0.5 + 0.1 * i, "delta_epsilon": 0.1 * (j - i), "train_zero": i == 1, "test_zero": j == 1}
        for i, a in enumerate(labels) for j, b in enumerate(labels) for s in (0, 1)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_matrix_shows_the_mean_over_seeds_in_rows_of_training():
    with style.figure(4, 3) as made:
        ax = made.subplots()
        matrix.draw(pairs(), ax, "loss")
        shown = ax.images[0].get_array()
        texts = [t.get_text() for t in ax.texts]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["−50", "0", "+50"]
        assert ax.get_ylabel() == "trained at defocus [Å]"
    assert np.allclose(shown, [[0.101 + 0.1 * i + 0.01 * j for j in range(3)] for i in range(3)])
    assert texts[1] == "0.11" and texts[3] == "0.20"


def test_every_off_diagonal_pair_is_a_point_of_its_kind():
    empty = pl.DataFrame(schema={"sigma": pl.Float64, "delta_epsilon": pl.Float64, "loss": pl.Float64})
    with style.figure(4, 3) as made:
        ax = made.subplots()
        losses.draw_over_shift(pairs(), ax, empty)
        kinds = {c.get_label(): len(c.get_offsets()) for c in ax.collections}
    assert kinds == {"tested at zero defocus": 2, "trained at zero defocus": 2, "neither": 2}


def test_figures_are_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        with style.figure(4, 3) as made:
            matrix.draw(pairs(), made.subplots(), "dice")
            style.save(made, tmp_path, name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_numbers_have_a_minus_and_counts_are_whole():
    assert (
        style.minus("defocus -50 Å, C12 -.5 Å, e-3, a-1, 2026-11-27")
        == "defocus −50 Å, C12 −.5 Å, e-3, a-1, 2026-11-27"
    )
    rows = [{"label": "defocus -50 Å", "epoch": e, "train_loss": 1 / e, "validation_loss": 2 / e} for e in range(1, 4)]
    sizes = {"equivalent_diameter_angstrom": [20.0, 21.0, 30.0], "touches_edge": [False, False, True]}
    with style.figure(6, 3) as made:
        left, right = made.subplots(1, 2)
        losses.draw_training(pl.DataFrame(rows), left)
        size_histogram.draw(pl.DataFrame(sizes), right)
        made.canvas.draw()
        assert left.get_legend().get_texts()[0].get_text() == "defocus −50 Å"
        assert all(float(t).is_integer() for t in (*left.get_xticks(), *right.get_yticks()))


def luminance(colour):
    """Relative luminance of a colour as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("count", [1, 3, 11, 41])
def test_no_curve_is_lost_on_a_white_page(count):
    assert all(1.05 / (luminance(colour) + 0.05) > 1.4 for colour in style.in_order(count))


def as_deuteranopes_see(colour):
    """Linear RGB of a colour for somebody without M cones (Viénot, Brettel and Mollon 1999)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return np.array([0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b])


def test_the_first_two_colours_and_the_two_outlines_differ_without_m_cones():
    for a, b in ((style.BLUE, style.ORANGE), (style.PREDICTION, style.TRUTH)):
        assert np.abs(as_deuteranopes_see(a) - as_deuteranopes_see(b)).max() > 0.2


@pytest.mark.parametrize(("count", "labels"), [(40, 40), (41, 0)])
def test_labels_of_too_many_conditions_are_left_out(count, labels):
    table = pl.DataFrame(
        {"label": [f"C10 {i} Å" for i in range(count)], "epsilon": [0.5] * count, "defocus_angstrom": [0.0] * count}
    )
    ax = Figure().subplots()
    transfer.draw_epsilon(table, ax, None)
    assert len(ax.get_xticklabels()) == labels
    assert len(ax.lines[0].get_xdata()) == count


def test_every_panel_of_a_specimen_has_a_scale_and_its_texts_lie_apart():
    shades = np.arange(64.0).reshape(8, 8)
    panels = dict.fromkeys((*specimen_sheet.MAPS, "side"), shades) | {"field": 80.0, "height": 200.0, "names": ["Au"]}
    panels |= {"columns": ([1.0], [2.0]), "rdf": {"film": ([1, 2], [0, 1])}, "images": dict.fromkeys("abc", shades)}
    with style.figure(15.0, 2.0) as row:
        specimen_sheet.draw_row(panels, row)
        assert [[t.get_text() for t in ax.texts] for ax in row.axes] == [["2 nm"]] * 8
        assert all(np.ptp(ax.lines[-1].get_xdata()) == 20 for ax in row.axes)
    with style.figure(12.5, 9.0) as sheet:
        specimen_sheet.draw_preview(panels, sheet)
        FigureCanvasAgg(sheet).draw()
        drawn = [ax for ax in sheet.axes if ax.get_title()]
        assert len(drawn) == 12 and all(ax.get_xlabel().endswith("[Å]") for ax in drawn)
        texts = [text for ax in drawn for text in (ax.title, ax.xaxis.label, ax.yaxis.label)]
        boxes = [text.get_window_extent() for text in texts] + [ax.get_window_extent() for ax in sheet.axes]
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert all(sheet.bbox.x0 <= box.x0 and box.x1 <= sheet.bbox.x1 for box in boxes)


def test_a_plane_of_a_session_shows_each_point_and_names_the_areas():
    x, y = [-100.0, 0.0, 100.0, 200.0], [50.0, 100.0, 200.0]
    answers = [["no"] * 4, ["no", "cannot say", "yes", "yes"], ["yes", "cannot say", "yes", "yes"]]
    rows = [
        {"defocus_angstrom": a, "dose_per_angstrom2": b, "model": "m", "answer": answer,
         "dice": None if answer == "cannot say" else 0.8 + 0.01 * i + 0.04 * j, "recommended": answer == "yes" and a > 0}
        for j, b in enumerate(y) for i, a in enumerate(x) for answer in [answers[j][i]]
    ]  # fmt: skip
    with style.figure(6, 4) as made:
        session_plane.draw(pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=1), made)
        made.canvas.draw()
        ax = made.axes[0]
        shown = ax.collections[0].get_array()
        words = {text.get_text(): text.get_position() for text in ax.texts}
        legend = [text.get_text() for text in ax.get_legend().get_texts()]
        outline = ax.collections[1].get_paths()[0].vertices
    expected = [[0.8 + 0.01 * i + 0.04 * j for i in range(4)] for j in range(3)]
    hidden = np.array(answers) == "cannot say"
    assert np.array_equal(shown.mask, hidden) and np.allclose(shown[~hidden], np.array(expected)[~hidden])
    assert legend == ["answer yes", "recommended", "cannot say"] and set(words) == {"yes", "no"}
    for word, (a, b) in words.items():
        assert answers[y.index(b)][x.index(a)] == word
    assert set(np.round(outline[:, 0])) <= {-150, -50, 50, 150, 250}, "the outline runs along the edges of the cells"
    assert set(np.round(outline[:, 1])) <= {75, 150, 250}


def test_a_session_is_drawn_over_time_in_the_colours_of_its_verdicts():
    times = [datetime(2026, 11, 28, 21, minute) for minute in (5, 0, 10)]
    values = {"dice": [0.2, 0.9, None], "defocus_angstrom": [900.0, None, 80.0], "particles": [3, 4, None]}
    table = pl.DataFrame(
        {"time": times, "verdict": ["no", "yes", None], "mean_diameter_angstrom": [20.0, 30.0, None], **values}
    )
    table = table.with_columns(
        dice_low=pl.col("dice") - 0.1, dice_high=pl.col("dice") + 0.05, diameter_deviation_angstrom=pl.lit(None, pl.Float64),
        defocus_low_angstrom=pl.col("defocus_angstrom") - 10, defocus_high_angstrom=pl.col("defocus_angstrom") + 10,
    )  # fmt: skip
    with style.figure(8, 6) as made:
        session_course.draw(table, made)
        dice, defocus, diameter, _ = made.axes
        course = dice.lines[0].get_ydata().tolist()
        drawn = {
            c.get_label(): (to_hex(c.lines[0].get_color()), c.lines[0].get_ydata().tolist()) for c in dice.containers
        }
        bars = dice.containers[0].lines[2][0].get_segments()[0][:, 1].tolist()
        sizes = [y for container in diameter.containers for y in container.lines[0].get_ydata()]
        assert len(defocus.containers) == 2
    assert course == [0.9, 0.2] and drawn == {"yes": ("#009e73", [0.9]), "no": ("#d55e00", [0.2])}
    assert bars == pytest.approx([0.8, 0.95]) and sorted(sizes) == pytest.approx([2.0, 3.0])
