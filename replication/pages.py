"""The pages: one for each experiment, and the table of all claims, from committed tables alone."""

import json
from typing import Any

from passband.files.atomic import write_file, write_json, write_text
from passband.studies.paths import StudyPaths
from replication import (
    convergence,
    defocus_sweep,
    failure,
    metrics,
    modes,
    networks,
    signatures,
    structures,
    tasks,
    training_sets,
    zero_defocus,
)
from replication.outcome import TABLES, Experiment, Outcome, StudyTables, table
from replication.paths import ResultsPaths

#: Every experiment, in the order of the table of results.
EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT
    for module in (
        defocus_sweep,
        metrics,
        signatures,
        failure,
        training_sets,
        zero_defocus,
        structures,
        convergence,
        networks,
        tasks,
        modes,
    )
)
_QUICK = (
    "> **Quick budget**: fewer conditions, specimens, epochs and networks than the standard results, to see that everything runs. "
    "The figures are not to be relied on.\n"
)


def study_names() -> list[str]:
    """Return the studies that the experiments need or use, each once."""
    return list(dict.fromkeys(name for e in EXPERIMENTS for name in (*e.studies, *e.extra)))


def keep(study: StudyPaths, paths: ResultsPaths, name: str) -> None:
    """Copy the tables of a finished study to the folder that pages are made from."""
    kept = paths.study(name)
    for source, target in (
        *[(study.table(t), kept.table(t)) for t in TABLES],
        (study.study, kept.study),
        (study.analysis, kept.analysis),
    ):
        if source.is_file():
            content = source.read_bytes()
            write_file(target, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]


def write_pages(paths: ResultsPaths, budget: str) -> dict[str, Any]:
    """Write every page whose studies are there, and the table of claims; return the claims and what is missing.

    Args:
        paths: of the results; tables of studies lie in it.
        budget: that the studies were run with.
    """
    there = {
        name: StudyTables(paths.study(name)) for name in study_names() if paths.study(name).table("scores").is_file()
    }
    done: list[tuple[Experiment, Outcome]] = []
    missing = {}
    for experiment in EXPERIMENTS:
        lacking = [name for name in experiment.studies if name not in there]
        if experiment.needs_extra and not any(name in there for name in experiment.extra):
            lacking += experiment.extra
        if lacking:
            missing[experiment.name] = lacking
            continue
        used = {name: there[name] for name in (*experiment.studies, *experiment.extra) if name in there}
        outcome = experiment.evaluate(used, paths.figures)
        write_text(paths.page(experiment.name), _page(experiment, outcome, used, budget))
        done.append((experiment, outcome))
    write_text(paths.index, _index(done, missing, budget))
    claims = [
        {"experiment": e.name, "claim": c.text, "figure": c.figure, "verdict": c.verdict}
        for e, o in done
        for c in o.claims
    ]
    answer = {"budget": budget, "claims": claims, "missing": missing}
    write_json(paths.claims, answer)
    return answer


def held_budget(paths: ResultsPaths) -> str:
    """Return the budget that the results in a folder were run with; standard if it does not say."""
    try:
        return str(json.loads(paths.claims.read_text(encoding="utf-8"))["budget"])
    except (OSError, ValueError, KeyError):
        return "standard"


def _page(experiment: Experiment, outcome: Outcome, used: dict[str, StudyTables], budget: str) -> str:
    lines = [f"# {experiment.title}", ""]
    if budget == "quick":
        lines += [_QUICK, ""]
    lines += [f"*{experiment.question}*", "", outcome.text[0], ""]
    lines += [_claims(outcome), ""]
    for name, caption in outcome.figures:
        lines += [f"![{caption}](figures/{name}.png)", "", f"*{caption}*", ""]
    for text in outcome.text[1:]:
        lines += [text, ""]
    lines += ["## How to reproduce it", ""]
    lines += [
        table(
            ["study", "trained on", "networks", "tests", "specimens", "core-hours", "machine", "passband, torch"],
            [_provenance(name, study) for name, study in used.items()],
        ),
        "",
        f"Run: `python -m replication run --budget {budget}`. This page and its figures again, from the tables in `tables/`: `python -m replication page {_folder(budget)}`. "
        "Intervals are the central 95 % when conditions, and networks of a condition where there are several, are drawn again with replacement; the test specimens stay as "
        "they are. No network sees them in training, and the test images of a condition are the same for every network. *In-domain loss*: of a network on test specimens under its "
        "training condition; it stands for what the source calls the training loss. *Relative loss*: loss divided by the in-domain loss.",
    ]
    return "\n".join(lines) + "\n"


def _folder(budget: str) -> str:
    return "docs/results" if budget == "standard" else f"runs/results-{budget}/pages"


def _claims(outcome: Outcome) -> str:
    return table(["claim", "measured", ""], [[c.text, c.figure, f"**{c.verdict}**"] for c in outcome.claims])


def _provenance(name: str, study: StudyTables) -> list[str]:
    facts = study.facts["provenance"]
    scores = study.scores
    networks = scores.select("train_condition", "seed").n_unique()
    return [
        name,
        f"{scores['train_condition'].n_unique()}",
        str(networks),
        str(len(scores)),
        str(facts["waves"]["specimens"]),
        f"{sum(facts['core_seconds'].values()) / 3600:.1f}",
        facts["platform"],
        f"{facts['versions']['passband']}, {facts['versions']['torch']}",
    ]


def _index(done: list[tuple[Experiment, Outcome]], missing: dict[str, list[str]], budget: str) -> str:
    counts = {v: sum(c.verdict == v for _, o in done for c in o.claims) for v in ("agrees", "differs", "cannot tell")}
    lines = ["# Results", ""]
    if budget == "quick":
        lines += [_QUICK, ""]
    lines += [
        "What the study behind passband ([arXiv:2512.09067](https://arxiv.org/abs/2512.09067)) claims, and what passband measures. "
        f"Of {sum(counts.values())} claims, ours among them, {counts['agrees']} agree, {counts['differs']} differ, and of {counts['cannot tell']} these "
        "results cannot tell. Differing ones first. Limits of all of it: [threats to validity](threats.md).",
        "",
        "Loss is cross-entropy + Dice loss of a segmentation network's prediction. ε is the share of the spatial frequencies up to 1 1/Å that a condition "
        "transfers to the image; Δε is test minus train; σ is the share of what the training condition transfers that the test condition transfers too.",
        "",
    ]
    order = ("differs", "cannot tell", "agrees")
    rows = [
        [c.text, c.figure, f"**{c.verdict}**", f"[{e.title}]({e.name}.md)"]
        for v in order
        for e, o in done
        for c in o.claims
        if c.verdict == v
    ]
    lines += [table(["claim of the source", "our result", "verdict", "page"], rows), ""]
    lines += ["| experiment | summary |", "|---|---|"]
    lines += [f"| [{e.title}]({e.name}.md) | {o.text[0].replace('|', chr(92) + '|')} |" for e, o in done]
    if missing:
        lines += [
            "",
            "Not run yet: " + "; ".join(f"{name} (lacks {', '.join(lacks)})" for name, lacks in missing.items()) + ".",
        ]
    lines += [
        "",
        f"All of it: `make results BUDGET={budget}` (or `python -m replication run --budget {budget}`), which first estimates the time and continues where it was "
        f"stopped. To make only the pages again from the tables beside them: `python -m replication page {_folder(budget)}`. To make a study's `analysis.json` again from its tables: "
        f"`passband study report {_folder(budget)}/tables/STUDY`.",
    ]
    return "\n".join(lines) + "\n"
