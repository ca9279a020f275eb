"""The tables of the page "The first author's other study, done again": losses of our networks beside those that were published."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from passband.base.identity import seed_from
from passband.files.atomic import write_text
from passband.learning.networks import build
from passband.studies.study import load_study
from replication import authors, external
from replication.filled_page import fill_in
from replication.outcome import table
from replication.paths import ResultsPaths
from replication.resampling import RESAMPLES, Statistic, rank_correlation, with_percentiles

#: What was published, by what is changed; docs/results/tables/authors_published/README.md has the source.
PUBLISHED: dict[authors.Kind, str] = {
    "families": "structures_small.csv",
    "dose": "dose_5x5.csv",
    "defocus": "defocus_5x11.csv",
}
_TITLES: dict[authors.Kind, str] = {"families": "lattices", "dose": "dose", "defocus": "defocus"}
# The variant of a study with the network of the lattices, and what it adds to the title.
_LARGE, _LARGER = "-large", ", larger network"
# With fewer different trainings or tests in a drawing, a rank correlation would have too little to go by.
_FEWEST = 3


@dataclass(frozen=True)
class Beside:
    """ln loss of A trainings at B tests, ours beside theirs; a drawing repeats trainings and tests.

    Attributes:
        train: name of each training.
        test: name of each test.
        ours: shape [A, B].
        theirs: shape [A, B].
        there: of networks trained on what is tested, ours and theirs; NaN where there are none, shape [2, B].
        home: of networks tested as trained, ours and theirs, shape [2, A].
    """

    train: np.ndarray
    test: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    there: np.ndarray
    home: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray, test: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> "Beside":
        """Return the losses of distinct trainings and tests; every training is among the tests."""
        home, there = np.empty((2, len(train))), np.full((2, len(test)), np.nan)
        for a, name in enumerate(train):
            [b] = np.flatnonzero(test == name)
            home[:, a] = there[:, b] = ours[a, b], theirs[a, b]
        return cls(train, test, ours, theirs, there, home)

    def drawn(self, a: np.ndarray, b: np.ndarray) -> "Beside":
        """Return trainings `a` and tests `b`."""
        grid = np.ix_(a, b)
        return Beside(
            self.train[a], self.test[b], self.ours[grid], self.theirs[grid], self.there[:, b], self.home[:, a]
        )

    @property
    def elsewhere(self) -> np.ndarray:
        """Whether each pair was tested on something else than it was trained on, shape [A, B]."""
        return self.train[:, None] != self.test


def beside(kind: authors.Kind, published: Path, *, mirrored: bool = False, variant: str = "") -> Beside:
    """Return the losses of a variant of our study beside a published table; `mirrored` takes its C1 with the other sign."""
    other = external.read_other(published)
    train, test = list(dict.fromkeys(other.train)), list(dict.fromkeys(other.test))
    rows = {(a, b): loss for a, b, loss in zip(other.train, other.test, other.loss, strict=True)}
    sign = -1.0 if mirrored else 1.0

    def name(value: authors.Name) -> authors.Name:
        return sign * value if isinstance(value, float) else value

    known = authors.losses(kind, variant)
    ours = np.log([[known[name(a), name(b)] for b in test] for a in train])
    theirs = np.log([[rows[a, b] for b in test] for a in train])
    return Beside.of(np.array(train), np.array(test), ours, theirs)


def rank(b: Beside) -> float:
    """Return the rank correlation of the losses, all pairs."""
    return rank_correlation(b.ours.ravel(), b.theirs.ravel())


def rank_home(b: Beside) -> float:
    """Return the rank correlation of losses relative to the in-domain loss, diagonal left out."""
    of = b.elsewhere
    return rank_correlation((b.ours - b.home[0][:, None])[of], (b.theirs - b.home[1][:, None])[of])


def rank_there(b: Beside) -> float:
    """Return the rank correlation of losses relative to those of networks trained on what is tested, diagonal left out."""
    of = b.elsewhere & np.isfinite(b.there).all(0)
    return rank_correlation((b.ours - b.there[0])[of], (b.theirs - b.there[1])[of])


def rank_networks(b: Beside) -> float:
    """Return the rank correlation over trainings of the mean ln loss elsewhere."""
    count = b.elsewhere.sum(1)
    if (count == 0).any():
        return float("nan")
    return rank_correlation(*((values * b.elsewhere).sum(1) / count for values in (b.ours, b.theirs)))


def r2(b: Beside) -> float:
    """Return R² of their ln loss by ours, with one common factor."""
    miss = b.theirs - b.ours
    return float(1 - miss.var() / b.theirs.var()) if np.ptp(b.theirs) else float("nan")


def measured(whole: Beside, statistic: Callable[[Beside], float]) -> Statistic:
    """Return a statistic with its interval: trainings and tests are drawn again, together where they are the same."""
    rng = np.random.default_rng(seed_from("authors"))
    square = list(whole.train) == list(whole.test)
    drawn = []
    for _ in range(RESAMPLES):
        a = rng.integers(len(whole.train), size=len(whole.train))
        b = a if square else rng.integers(len(whole.test), size=len(whole.test))
        few = min(len(np.unique(a)), len(np.unique(b))) < _FEWEST
        drawn.append(float("nan") if few else statistic(whole.drawn(a, b)))
    return with_percentiles(statistic(whole), drawn)


def write(paths: ResultsPaths) -> None:
    """Compare the published tables again, and fill in the tables of the page."""
    published = paths.pages / "tables" / "authors_published"
    for kind, file in PUBLISHED.items():
        answer = json.dumps(external.compare(external.read_other(published / file)), ensure_ascii=False)
        # To six digits, so that a page made again is the same.
        rounded = json.loads(answer, parse_float=lambda text: round(float(text), 6))
        kept = paths.pages / "tables" / "predictor" / f"external_{kind}.json"
        write_text(kept, json.dumps(rounded, ensure_ascii=False) + "\n")
    fill_in(paths.page("authors"), parts(paths))


def parts(paths: ResultsPaths) -> dict[str, str]:
    """Return the tables of the page by the name of their markers, in Markdown."""
    published = paths.pages / "tables" / "authors_published"
    compared = {kind: beside(kind, published / file) for kind, file in PUBLISHED.items()}
    defocus = published / PUBLISHED["defocus"]
    named = {_TITLES[k]: b for k, b in compared.items() if k != "defocus"}
    for variant, more in {"": "", _LARGE: _LARGER}.items():
        for mirrored, sign in ((False, "underfocus"), (True, "overfocus")):
            title = f"defocus{more}, C1 > 0 is {sign}"
            named[title] = beside("defocus", defocus, mirrored=mirrored, variant=variant)
    return {
        "setup": _setup(paths),
        "agreement": _agreement(named),
        "losses": _losses(compared),
        "lattices": _lattices(compared["families"]),
        "reader": _reader(compared),
    }


def _setup(paths: ResultsPaths) -> str:
    rows = []
    studies = {f"authors_{kind}": title for kind, title in _TITLES.items()}
    studies[f"authors_defocus{_LARGE}"] = f"defocus{_LARGER}"
    for name, title in studies.items():
        study = load_study(paths.study(name).study)
        weights = sum(p.numel() for p in build(study.network).parameters())
        rows.append(
            [
                title,
                str(study.split.train),
                ", ".join(map(str, study.network.widths)),
                f"{weights:,}",
                f"{study.training.learning_rate:g}",
                str(study.training.epochs),
                str(study.seeds),
            ]
        )
    header = ["study", "training specimens", "widths", "weights", "learning rate", "epochs", "networks a training"]
    return table(header, rows)


def _agreement(named: dict[str, Beside]) -> str:
    rows = []
    for name, b in named.items():
        figures = [str(measured(b, s)) for s in (rank, rank_home, rank_there, rank_networks, r2)]
        rows.append([f"{name}, {len(b.train)} × {len(b.test)}", *figures])
    header = [
        "rank correlation with their table",
        "loss",
        "relative to the in-domain loss",
        "relative to networks trained there",
        "networks: mean ln loss elsewhere",
        "R² of ln loss, one common factor",
    ]
    return table(header, rows)


def _losses(compared: dict[authors.Kind, Beside]) -> str:
    rows = []
    for kind, b in compared.items():
        for a, name in enumerate(b.train):
            away = b.elsewhere[a]
            row = [_TITLES[kind], _said(name)]
            for ours, theirs in (b.home[:, a], (b.ours[a, away].mean(), b.theirs[a, away].mean())):
                row += [f"{np.exp(ours):.3f}", f"{np.exp(theirs):.3f}", f"{np.exp(ours - theirs):.1f}"]
            for losses in (b.ours[a], b.theirs[a]):
                worst = int(losses.argmax())
                row.append(f"{np.exp(losses[worst]):.2f} ({_said(b.test[worst])})")
            rows.append(row)
    header = ["study", "trained on", "at home: ours", "theirs", "ratio", "elsewhere (geometric mean): ours", "theirs"]
    return table([*header, "ratio", "highest: ours (on)", "theirs (on)"], rows)


def _lattices(b: Beside) -> str:
    ours, theirs = np.exp(b.ours), np.exp(b.theirs)
    rows = [
        [_said(name), *(f"{x:.3f} / {y:.3f}" for x, y in zip(ours[a], theirs[a], strict=True))]
        for a, name in enumerate(b.train)
    ]
    return table(["", *(_said(name) for name in b.test)], rows)


def _reader(compared: dict[authors.Kind, Beside]) -> str:
    rows = []
    for kind, b in compared.items():
        names = [*b.train.tolist(), *b.test.tolist()]
        reader = external.predict(kind, names)[0][: len(b.train), len(b.train) :]
        with_theirs = Beside.of(b.train, b.test, reader, b.theirs)
        with_ours = Beside.of(b.train, b.test, reader, b.ours)
        rows.append(
            [_TITLES[kind], *(str(measured(one, s)) for s in (rank, rank_there) for one in (with_theirs, with_ours))]
        )
    header = ["study", "loss: with theirs", "with ours", "relative to networks trained there: with theirs", "with ours"]
    return table(header, rows)


def _said(name: authors.Name) -> str:
    return (
        f"{name:g}".replace("-", "−") if isinstance(name, float) else str(name).removesuffix("_small").replace("_", " ")
    )
