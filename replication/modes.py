"""Does the framework carry over to imaging modes other than HRTEM? The source's second open question, for segmentation."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

from passband.analysis.least_squares import Fit
from passband.analysis.loss_prediction import law
from passband.analysis.pairs import Pairs, Target
from passband.conditions import ABERRATIONS, ANGLES
from passband.figures import matrix
from passband.files.tables import read_table, write_table
from passband.learning import predict
from passband.metrics.texture import Texture
from passband.simulation.imaging import normalize
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob, test_images
from passband.studies.wave_jobs import device, textures
from replication import judging
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.predictor import LossTable, loaded, texture_file
from replication.resampling import RESAMPLES, Statistic, with_percentiles
from replication.tasks import FAILED, LAW, PREDICTORS, TARGETS, alike, held_out_r2, pairs_of, some

_HRTEM, _SWEEPS = "metrics_corrected", {"defocus_sweep": "HRTEM", "stem_haadf_sweep": "annular dark field"}
# Modes of the studies whose conditions are drawn alike: the same aberrations, in the same order.
_MODES = {_HRTEM: "HRTEM", "stem_haadf": "annular dark field", "stem_bf": "bright field STEM"}
_OTHERS = [name for name in _MODES if name != _HRTEM]
_UNCHANGED = "law of HRTEM, unchanged"
_CROSS = "cross.parquet"
# What is the same in all modes.
_OPTICS = [*ABERRATIONS, *ANGLES.values(), "focal_spread_angstrom"]


def matched(studies: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    """Return the ids of the conditions whose optics are the same in all studies, in one order, given each study's table of conditions.

    The order is that of the ids in HRTEM, or in the first study without it, so that folds are those of the page of other tasks.
    """
    keyed = {
        name: {tuple(optics): one for one, *optics in table.select("condition", *_OPTICS).iter_rows()}
        for name, table in studies.items()
    }
    first = keyed.get(_HRTEM) or next(iter(keyed.values()))
    shared = sorted((one, key) for key, one in first.items() if all(key in rows for rows in keyed.values()))
    return {name: [rows[key] for _, key in shared] for name, rows in keyed.items()}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return, mode by mode, what predicts the loss under other conditions, whether the same pairs fail, and the sweep over defocus."""
    outcome, shown = Outcome(), {name: mode for name, mode in _MODES.items() if name in studies}
    tables = studies[_HRTEM].paths.folder.parent
    ids = matched({name: studies[name].conditions for name in shown})
    pairs = {name: pairs_of(studies[name].square, ids[name]) for name in shown}
    known = {name: some(laws, ids[name]) for name, laws in loaded(tables, tuple(shown)).items()}
    held_out = {
        target: {name: held_out_r2(pairs[name], known.get(name), tables, target) for name in shown}
        for target in TARGETS
    }
    others = [name for name in _OTHERS if name in shown]
    agreement = {name: alike(pairs[_HRTEM], pairs[name]) for name in others}
    of_loss = held_out["log_loss"]
    outcome.text.append(
        "R² of ln loss, neither condition seen: "
        + "; ".join(
            f"{mode}: σ and Δε {of_loss[n]['σ and Δε']}, {LAW} {of_loss[n].get(LAW, '–')}" for n, mode in shown.items()
        )
        + "."
    )
    for name in others:
        sigma = of_loss[name]["σ and Δε"]
        claim = f"The framework carries over to other imaging modes: σ and Δε predict the loss; {shown[name]}"
        outcome.claims.append(Claim(claim, f"R² {sigma}, neither condition seen", judged(sigma, above=0.7)))
    if "stem_haadf" in shown:
        gain = _gain(pairs["stem_haadf"], pairs[_HRTEM])
        outcome.claims.append(
            Claim(
                "ours: σ and Δε predict better where contrast does not reverse, in dark field",
                f"R² of ln loss less that of HRTEM {gain}",
                judged(gain, above=0.0),
            )
        )
    for name in others:
        outcome.claims.append(
            Claim(
                f"ours: aberrations that fail networks in HRTEM fail them in this mode, too; {shown[name]}",
                f"rank correlation of the relative loss over pairs {agreement[name]}",
                judged(agreement[name], above=0.7),
            )
        )
    rows = [_row(mode, studies[n], pairs[n], ids[n], agreement.get(n)) for n, mode in shown.items()]
    outcome.text.append(
        f"{len(ids[_HRTEM])} conditions with the same aberrations, electrons in the image, pixels and specimens in each mode, one network each. Medians over conditions of Dice in the domain; pairs of other "
        f"conditions whose loss is more than {FAILED:g} times the in-domain loss; rank correlation of the relative loss with that of HRTEM, over pairs.\n\n"
        + table(["mode", "networks", "in-domain Dice", "failed pairs", "agreement with HRTEM"], rows)
    )
    for target, words in TARGETS.items():
        unchanged = {n: _by_law_of_hrtem(known[n], target) for n in others if n in known}
        names = [*PREDICTORS, LAW, *([_UNCHANGED] if unchanged else [])]
        lines = [
            [mode, *(str((held_out[target][n] | {_UNCHANGED: unchanged.get(n, "–")}).get(rule, "–")) for rule in names)]
            for n, mode in shown.items()
        ]
        outcome.text.append(
            f"R² of {words}, neither condition seen. Quadratics in the numbers named, and the {LAW} ([what predicts the loss](predictor.md)), all fitted to the same study without the two "
            "conditions, four folds of conditions for the law; of STEM the textures are those of 16 simulated images of training specimens. Last, the law that was fitted to HRTEM, as it is "
            "bundled. One seed: no ceiling is known.\n\n" + table(["mode", *names], lines)
        )
    outcome.text.append(
        "Annular dark field adds up intensities: a probe out of focus blurs, and no frequency reverses. Networks trained in focus lose most, on blurred images; those trained out of focus "
        "draw sharp particles too small. Bright field of a small detector is the reciprocal of HRTEM, computed to first order in the phase, which gold exceeds ([STEM](../stem.md)); its dose is "
        "such that as many electrons are counted as in the other modes. Defocus counts from the entrance plane in STEM and from the exit plane in HRTEM."
    )
    _sweeps(studies, folder, outcome)
    _cross(tables, outcome)
    return outcome


def _gain(pairs: Pairs, hrtem: Pairs) -> Statistic:
    """Return R² of σ and Δε in a mode less that in HRTEM, the same conditions drawn again for both; nothing is fitted again."""
    both = []
    for one in (pairs, hrtem):
        target = one.target("log_loss")
        both.append((one.used & np.isfinite(target), target, held_out_prediction(one)))
    rng, n = np.random.default_rng(0), len(pairs.loss)

    def gained(drawn: np.ndarray) -> float:
        grid, scores = np.ix_(drawn, drawn), []
        for used, target, predicted in both:
            chosen = used[grid] & np.isfinite(predicted[grid])
            y, p = target[grid][chosen], predicted[grid][chosen]
            scores.append(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())
        return float(scores[0] - scores[1])

    return with_percentiles(gained(np.arange(n)), [gained(rng.integers(n, size=n)) for _ in range(RESAMPLES)])


def held_out_prediction(pairs: Pairs) -> np.ndarray:
    """Return what σ and Δε predict of ln loss for each pair of conditions that the fit has not seen, shape [B, B]."""
    return Fit(pairs, PREDICTORS["σ and Δε"], "log_loss").predictions()["both"]


def _by_law_of_hrtem(known: LossTable, target: Target) -> Statistic:
    """Return R² of the bundled law, fitted to HRTEM alone."""
    predicted = law(target).predict(known.textures, known.textures)
    return judging.r2(known.pairs, predicted.log_loss.numpy(), target)


def _row(mode: str, study: StudyTables, pairs: Pairs, ids: list[str], agreement: Statistic | None) -> list[str]:
    own = study.in_domain.filter(pl.col("train_condition").is_in(ids))
    failed = float(np.mean(np.exp(pairs.log_ratio[pairs.off]) > FAILED))
    networks = own.select("train_condition", "seed").n_unique()
    dice = float(np.median(own["dice"]))
    return [mode, str(networks), f"{dice:.3f}", f"{failed:.0%}", "" if agreement is None else str(agreement)]


def _sweeps(studies: Mapping[str, StudyTables], folder: Path, outcome: Outcome) -> None:
    """Draw the matrices over the defocus of HRTEM and dark field, and claim what zero defocus does."""
    there = {name: mode for name, mode in _SWEEPS.items() if name in studies}
    if len(there) < len(_SWEEPS):
        return
    caption = "Loss of networks trained at one defocus (rows) and tested at another (columns), in HRTEM and in annular dark field; means over seeds."
    with outcome.figure(folder, "modes_defocus", caption, 12.8, 5.4) as made:
        for ax, (name, mode) in zip(made.subplots(1, 2), there.items(), strict=True):
            matrix.draw(studies[name].pairs, ax, "loss", f"Test loss, {mode}")
    ratios = {name: _at_zero(studies[name]) for name in there}
    haadf = ratios["stem_haadf_sweep"]
    outcome.claims.append(
        Claim(
            "ours: in dark field no network fails at zero defocus",
            f"largest loss at zero defocus over the in-domain loss × {haadf.max():.2f}, median × {np.median(haadf):.2f}; "
            f"in HRTEM × {ratios['defocus_sweep'].max():.2f}, median × {np.median(ratios['defocus_sweep']):.2f}",
            "agrees" if haadf.max() < FAILED else "differs",
        )
    )


def _at_zero(study: StudyTables) -> np.ndarray:
    """Return the loss at zero defocus over the in-domain loss, of networks trained elsewhere (means over seeds)."""
    zero = int(np.argmin(np.abs(study.defocus)))
    loss = study.square.pairs.loss
    return np.delete(loss[:, zero] / np.diag(loss), zero)


def _cross(tables: Path, outcome: Outcome) -> None:
    """Show how networks of one mode do in another under the same aberrations."""
    if not (tables / "modes" / _CROSS).is_file():
        return
    found = read_table(tables / "modes" / _CROSS)
    medians = found.group_by("trained", "tested").agg(pl.median("dice"))
    value = {(a, b): dice for a, b, dice in medians.iter_rows()}
    modes = [mode for mode in _MODES.values() if (mode, mode) in value]
    rows = [[f"trained in {a}", *(f"{value[a, b]:.2f}" for b in modes)] for a in modes]
    outcome.text.append(
        f"Networks of one mode tested in another, under the same aberrations ({found['condition'].n_unique()} conditions; median Dice over them).\n\n"
        + table(["", *(f"tested in {mode}" for mode in modes)], rows)
    )


def measure(tables: Path, runs: Path, note: Callable[[str], None]) -> None:
    """Write the textures of the STEM studies, and Dice of each mode's networks in the other modes, from the folders in which the studies ran."""
    studies = {name: StudyFolder.open(runs / name) for name in (*_MODES, "stem_haadf_sweep") if (runs / name).is_dir()}
    for name in ("stem_haadf", "stem_bf", "stem_haadf_sweep"):
        if name in studies:
            note(f"textures of {name}")
            write_table(texture_file(tables, name), _texture_rows(studies[name]))
    modes = {name: held for name, held in studies.items() if name in _MODES}
    if len(modes) > 1:
        write_table(tables / "modes" / _CROSS, _cross_rows(modes, note))


def _texture_rows(held: StudyFolder) -> pl.DataFrame:
    """Return a row for each condition and ring: the textures of film and particles."""
    seen = textures(held.study, held.paths)
    assert isinstance(seen, Texture)
    ids, rings = [test.id for test in held.study.tests], seen.film.shape[1]
    return pl.DataFrame(
        {
            "condition": np.repeat(ids, rings),
            "ring": np.tile(np.arange(rings), len(ids)),
            "film": seen.film.numpy().ravel(),
            "particle": seen.particle.numpy().ravel(),
        }
    )


def _cross_rows(modes: Mapping[str, StudyFolder], note: Callable[[str], None]) -> pl.DataFrame:
    """Return Dice of the first network of each condition in each mode on the test images of every mode under the same aberrations."""
    ids, rows = matched({name: read_table(held.paths.table("conditions")) for name, held in modes.items()}), []
    for tested, held in modes.items():
        note(f"networks on images of {_MODES[tested]}")
        tests = {test.id: test for test in held.study.tests}
        for i, one in enumerate(ids[tested]):
            counts, masks = test_images(held.study, held.paths, tests[one])
            images, truth = normalize(counts)[:, None].to(device()), masks > 0.5
            for trained, other in modes.items():
                [domain] = [training for training in other.study.trainings if training.id == ids[trained][i]]
                network = TrainingJob(other.study, other.paths, domain).network()
                with torch.inference_mode():
                    found = predict(network, images).cpu() > 0
                dice = 2 * float((found & truth).sum()) / max(float(found.sum() + truth.sum()), 1.0)
                rows.append({"trained": _MODES[trained], "tested": _MODES[tested], "condition": i, "dice": dice})
    return pl.DataFrame(rows)


EXPERIMENT = Experiment(
    "modes",
    "Other imaging modes",
    "Does what holds for HRTEM hold for scanning probes: annular dark field, whose contrast never reverses, and bright field?",
    (_HRTEM,),
    evaluate,
    (*_OTHERS, *_SWEEPS),
    needs_extra=True,
)
