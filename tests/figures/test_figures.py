import numpy as np
import polars as pl

from passband.figures import loss_over_shift, matrix, style
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
        loss_over_shift.draw(pairs(), ax, empty)
        kinds = {c.get_label(): len(c.get_offsets()) for c in ax.collections}
    assert kinds == {"tested at zero defocus": 2, "trained at zero defocus": 2, "neither": 2}


def test_figures_are_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        with style.figure(4, 3) as made:
            matrix.draw(pairs(), made.subplots(), "dice")
            style.save(made, tmp_path, name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
