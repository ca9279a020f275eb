"""What predicts the loss on another family of specimens: among our eight families, and among the first author's nine.

Both families of a pair are unseen: quadratics and the law of textures are fitted without them. The figures are written beside the tables, for the
page "Another specimen". The authors' nine families were looked at while forms of the prediction were tried (docs/results/tables/predictor/log.md).
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.loss_law import fit_law
from passband.analysis.pairs import Target, dense
from passband.files.tables import read_table, write_table
from passband.studies.paths import StudyPaths
from passband.studies.study import Domain
from replication import authors_page, external, judging, predictor
from replication.external import scattering_power
from replication.outcome import StudyTables
from replication.predictor import LossTable
from replication.resampling import Statistic, rank_correlation
from replication.structures import (
    LAW_KIN,
    LOPSIDED,
    REPRODUCED,
    SEPARABILITY,
    FamilyTable,
    family_crystal,
    lopsided,
    measured,
    which_way,
)

_TARGETS: tuple[Target, ...] = ("log_loss", "log_excess")
#: What is compared: the rule in words, and the features of pairs that it uses.
RULES: dict[str, tuple[str, ...]] = {
    "σ and Δε (the source)": ("sigma", "delta_epsilon"),
    "σ and Δε weighted by gold's structure factor": ("sigma_structure_factor", "delta_epsilon_structure_factor"),
    "another lattice or not": ("lattice",),
    "difference of scattering power (Σ Z per volume)": ("power",),
    "distance of images (MMD)": ("mmd",),
    "distance of images' spectra": ("spectrum_distance",),
    "change of the particles' texture (rms over rings)": ("particle_change",),
    "film excess": ("film_excess",),
    "Gaussian reader": ("gaussian",),
    "reader loss": ("reader",),
    "reader loss, film excess, contrast of the training": ("reader", "film_excess", "train_contrast"),
    SEPARABILITY: ("test_in_domain",),
    "loss of the network where it was trained": ("train_in_domain",),
}
# At one defocus, and on the authors' families, the optics are the same: nothing to tell.
_OF_OPTICS = tuple(RULES)[:2]
LAW = "law of textures"
CORRECTED = "Gaussian reader, corrected by those"
CEILING = "ceiling: noise between seeds of three studies with two (mean, least, most)"
# Studies with two seeds, whose noise is taken for that of the one of families.
_TWO_SEEDS = ("predictor_corrected", "predictor_corrected_final", "predictor_one_dose")


def judge(tables: Path, note: Callable[[str], None]) -> pl.DataFrame:
    """Return R² and rank correlation of every rule, with intervals over families (and defoci).

    Columns: target, rule, figure (see `_ours` and `_theirs`), value, low, high.
    """
    rows = []
    for target in _TARGETS:
        note(f"our eight families, {target}")
        found = _ours(tables, target)
        note(f"the first author's nine families, {target}")
        found += _theirs(tables, target)
        rows += [{"target": target, "rule": rule, "figure": figure, **vars(s)} for rule, figure, s in found]
    way = measured(which_way(StudyTables(StudyPaths(tables / predictor.AUTHORS))), lopsided)
    rows += [
        {"target": "errors", "rule": LOPSIDED, "figure": "rank_reproduced", **vars(way)},
        {"target": "log_loss", "rule": LAW, "figure": "known", **vars(_known(tables))},
    ]
    return pl.DataFrame(rows)


def save(tables: Path, figures: pl.DataFrame) -> None:
    """Write the figures where the page finds them."""
    write_table(tables / "predictor" / "families.parquet", figures)


def _ours(tables: Path, target: Target) -> list[tuple[str, str, Statistic]]:
    """Return R² and rank correlation over all pairs of our families, and rank correlation at the same defocus."""
    test = predictor.family_test(tables)
    table = _with_features(tables, "structures", test.table, _gaussian(tables, test.table))
    test = replace(test, table=table)
    families = sorted({_name(d) for d in table.domains}, key=[_name(d) for d in table.domains].index)
    predicted = {rule: predictor.by_quadratic(test, names, target) for rule, names in RULES.items()}
    predicted[LAW] = predictor.by_law(tables, test, target)
    crystals = [family_crystal(d.recipe) for d in table.domains]
    kin = np.unique([c.name if c.prototype == "fcc" else "chalcogenide" for c in crystals], return_inverse=True)[1]
    predicted[LAW_KIN] = predictor.by_law(tables, replace(test, fold=kin), target)
    shape = (len(families), len(table.domains) // len(families)) * 2
    single = {rule: table.features[names[0]] for rule, names in RULES.items() if len(names) == 1}
    whole = FamilyTable(
        table.pairs.loss.reshape(shape),
        {f"r2 {rule}": p.reshape(shape) for rule, p in predicted.items()}
        | {f"rank {rule}": (single.get(rule, p)).reshape(shape) for rule, p in predicted.items()},
        np.arange(shape[0]),
        np.arange(shape[1]),
    )
    found = []
    for rule in predicted:
        found.append((rule, "r2", measured(whole, functools.partial(_r2, target, f"r2 {rule}"))))
        ranked = functools.partial(_rank, target, f"rank {rule}")
        found.append((rule, "rank", measured(whole, ranked)))
        if rule not in _OF_OPTICS:
            found.append((rule, "rank_same", measured(whole, functools.partial(ranked, same=True))))
    return [*found, (CEILING, "r2", ceiling(tables, target, _target(whole, target)[_used(whole)]))]


def _theirs(tables: Path, target: Target) -> list[tuple[str, str, Statistic]]:
    """Return rank correlations with the authors' losses on their families, and with our networks' there."""
    table = predictor.load(tables, predictor.AUTHORS)
    names = [_name(d) for d in table.domains]
    reader, corrected = external.predict("families", names)
    table = _with_features(tables, predictor.AUTHORS, table, reader)
    published = authors_page.beside("families", tables / "authors_published" / authors_page.PUBLISHED["families"])
    order = [published.train.tolist().index(name) for name in names]
    theirs = np.exp(published.theirs[np.ix_(order, order)])
    fitted = predictor.load(tables, "structures")
    fitted = _with_features(tables, "structures", fitted, _gaussian(tables, fitted))
    law = fit_law([predictor.fitted(tables, name).square(target) for name in predictor.FITTED], calibrate=False)
    said = law.predict(table.textures, table.textures).log_loss.numpy()
    found = []
    for figure, losses in (("rank_theirs", theirs), ("rank_reproduced", table.pairs.loss)):
        judged = _with_in_domain(table, losses)
        more = {LAW: said}
        if figure == "rank_theirs":
            more |= {CORRECTED: corrected, REPRODUCED: _of(table.pairs.loss, target)}
        values = {
            rule: judged.features[features[0]]
            if len(features) == 1
            else predictor.by_quadratic(predictor.Unseen("theirs", judged, [], fitted), features, target)
            for rule, features in RULES.items()
            if rule not in _OF_OPTICS
        } | more
        shape = (len(names), 1) * 2
        whole = FamilyTable(
            losses.reshape(shape), {r: v.reshape(shape) for r, v in values.items()}, np.arange(len(names)), np.arange(1)
        )
        found += [(rule, figure, measured(whole, functools.partial(_rank, target, rule))) for rule in values]
    return found


def _known(tables: Path) -> Statistic:
    """Return the share of pairs of the authors' families that the law of textures counts as like what it was fitted to; no interval."""
    law = fit_law([predictor.fitted(tables, name).square("log_loss") for name in predictor.FITTED])
    textures = predictor.load(tables, predictor.AUTHORS).textures
    known = law.predict(textures, textures).known.numpy()
    return Statistic(float(known[~np.eye(len(known), dtype=bool)].mean()), float("nan"), float("nan"))


def ceiling(tables: Path, target: Target, losses: np.ndarray) -> Statistic:
    """Return R² that noise between seeds leaves of these losses of one seed: mean, least and most over studies with two."""
    noises = (judging.noise(predictor.load(tables, name).loss, target) for name in _TWO_SEEDS)
    left = [1 - noise / losses.var() for noise in noises]
    return Statistic(float(np.mean(left)), min(left), max(left))


def _of(loss: np.ndarray, target: Target) -> np.ndarray:
    """Return the target of losses, shape [..., B, B]."""
    values = np.log(loss)
    return values - np.diagonal(values, axis1=-2, axis2=-1)[..., None, :] if target == "log_excess" else values


def _with_features(tables: Path, study: str, table: LossTable, gaussian: np.ndarray) -> LossTable:
    """Return a table with all features of RULES."""
    ids = [d.id for d in table.domains]
    shift = pl.read_parquet(tables / study / "shift.parquet")
    keys = {"train_condition": ids, "test_condition": ids}
    stored = {name: dense(shift, keys, name) for name in ("mmd", "spectrum_distance", "sigma_structure_factor")}
    sides = [dense(shift, keys, f"epsilon_structure_factor_{side}") for side in ("test", "train")]
    particle = table.textures.particle.numpy()
    crystals = [family_crystal(d.recipe) for d in table.domains]
    kinds, powers = np.array([c.prototype for c in crystals]), np.array([scattering_power(c) for c in crystals])
    features = stored | {
        "delta_epsilon_structure_factor": sides[0] - sides[1],
        "particle_change": np.sqrt(((particle[:, None] - particle[None]) ** 2).mean(-1)),
        "lattice": (kinds[:, None] != kinds).astype(float),
        "power": np.abs(np.log(powers[:, None] / powers)),
        "gaussian": gaussian,
    }
    return _with_in_domain(replace(table, features={**table.features, **features}), table.pairs.loss)


def _with_in_domain(table: LossTable, loss: np.ndarray) -> LossTable:
    """Return a table whose features have the in-domain losses of some losses, shape [B, B]."""
    home = np.broadcast_to(np.log(np.diag(loss)), loss.shape)
    return replace(table, features={**table.features, "test_in_domain": home, "train_in_domain": home.T})


def _gaussian(tables: Path, table: LossTable) -> np.ndarray:
    ids = [d.id for d in table.domains]
    stored = read_table(tables / "predictor" / "gaussian_structures.parquet")
    return np.asarray(dense(stored, {"train_condition": ids, "test_condition": ids}, "log_error"))


def _name(domain: Domain) -> str:
    return domain.id.split("/")[0]


def _used(t: FamilyTable, *, same: bool = False) -> np.ndarray:
    return ~t.same_family & (t.same_condition if same else True)


def _target(t: FamilyTable, target: Target) -> np.ndarray:
    return t.excess if target == "log_excess" else np.log(t.loss)


def _rank(target: Target, feature: str, t: FamilyTable, *, same: bool = False) -> float:
    used = _used(t, same=same)
    return rank_correlation(t.features[feature][used], _target(t, target)[used])


def _r2(target: Target, feature: str, t: FamilyTable) -> float:
    used = _used(t)
    y, said = _target(t, target)[used], t.features[feature][used]
    return float(1 - ((y - said) ** 2).sum() / ((y - y.mean()) ** 2).sum()) if len(y) > 2 else float("nan")
