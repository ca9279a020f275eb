"""The table of all networks on all conditions, in blocks: what is covered, what is missing, and the work of one block.

A block is some networks on some tests. Its images are made once for all its networks. Finished blocks say which
weights they tested, so that a network that was trained again, or a condition that was added, is tested and nothing else.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from passband.base.identity import content_id
from passband.execution.base import Progress
from passband.files.finished import is_finished, marker, peek, writing
from passband.files.tables import parquet
from passband.learning import count_pixels, predict
from passband.simulation.imaging import normalize
from passband.studies import jobs
from passband.studies.paths import StudyPaths
from passband.studies.score_table import cross_table
from passband.studies.study import Study

# Networks and tests of a block at most; a thousand networks on 200 conditions are then 128 blocks.
_NETWORKS, _TESTS = 32, 50
# Blocks that a small study is cut into at least, if it has as many networks, so that all workers have some.
_BLOCKS = 8
_TABLE = "table.parquet"
# Rows of counts that are gathered into one table, some 2 GB of memory.
_COUNTS_GATHERED = 20_000_000
# Raised when the test of a network changes its result, so that old blocks are not taken for new ones.
_REVISION = 2


@dataclass(frozen=True)
class Block:
    """Some networks on some tests.

    Attributes:
        study: the whole study.
        paths: its folder.
        networks: finished training cells.
        weights: digest of each network's weights.
        tests: indices of what to test on.
    """

    study: Study
    paths: StudyPaths
    networks: tuple[jobs.Cell, ...]
    weights: tuple[str, ...]
    tests: tuple[int, ...]

    @property
    def covers(self) -> dict[str, Any]:
        """What the block's marker says of it."""
        tests = self.study.tests()
        return {
            "revision": _REVISION,
            "networks": [[n.folder.name, w] for n, w in zip(self.networks, self.weights, strict=True)],
            "tested": [tests[i].id for i in self.tests],
        }

    @property
    def folder(self) -> Path:
        """Where the block lies."""
        return self.paths.cell("evaluate", content_id(self.covers, 16))


def run_block(block: Block, progress: Progress) -> None:
    """Test the networks of a block; progress counts pairs."""
    study, tests = block.study, block.study.tests()
    if is_finished(block.folder):
        progress(len(block.networks) * len(block.tests))
        return
    models = [jobs.load_network(study, cell.folder) for cell in block.networks]
    facts: dict[str, Any] = {"content": block.covers}
    with writing(block.folder, facts) as folder:
        began = time.perf_counter()
        parts = []
        for index in block.tests:
            counts, masks = jobs.test_images(study, block.paths, tests[index])
            images = normalize(counts)[:, None].to(jobs.device())
            masks = masks.to(images.device)
            for cell, model in zip(block.networks, models, strict=True):
                parts.append(
                    pl.DataFrame(
                        {
                            "train_condition": cell.subject.id,
                            "test_condition": tests[index].id,
                            "seed": cell.seed,
                            "specimen": range(study.split.total - study.split.test, study.split.total),
                            **count_pixels(predict(model, images), masks),
                        }
                    )
                )
                progress(1.0)
        table = pl.concat(parts).with_columns(pl.col("seed", "specimen").cast(pl.Int64))
        (folder / _TABLE).write_bytes(parquet(table))
        facts["seconds"] = time.perf_counter() - began


@dataclass
class Coverage:
    """Which pairs of network and condition are tested, and by which finished block.

    Attributes:
        networks: the study's training cells, in the order of the tables.
        weights: digest of each one's weights, None where it is not trained.
        done: bool, shape [networks, tests].
        blocks: each finished block's table with the pairs to take from it, indices of networks and of tests.
        seconds: that the finished blocks took.
    """

    networks: list[jobs.Cell]
    weights: list[str | None]
    done: np.ndarray
    blocks: list[tuple[Path, np.ndarray]] = field(default_factory=list)
    seconds: float = 0.0


def coverage(study: Study, paths: StudyPaths, networks: list[jobs.Cell]) -> Coverage:
    """Return what is tested already; blocks that are damaged, or tested other weights, do not count."""
    weights = [jobs.weights_digest(cell) for cell in networks]
    tests = {t.id: i for i, t in enumerate(study.tests())}
    index = {(cell.folder.name, w): i for i, (cell, w) in enumerate(zip(networks, weights, strict=True)) if w}
    found = Coverage(networks, weights, np.zeros((len(networks), len(tests)), dtype=bool))
    # By name, so that of two blocks with the same pair always the same one counts.
    for folder in sorted(paths.cells.glob("evaluate-*")) if paths.cells.is_dir() else []:
        covers = (peek(folder) or {}).get("content", {})
        if covers.get("revision") != _REVISION or (facts := marker(folder)) is None:
            continue
        rows = [index[key] for n, w in covers["networks"] if (key := (n, w)) in index]
        columns = [tests[t] for t in covers["tested"] if t in tests]
        new = np.zeros_like(found.done)
        new[np.ix_(rows, columns)] = True
        new &= ~found.done
        if new.any():
            found.done |= new
            found.blocks.append((folder / _TABLE, np.argwhere(new)))
            found.seconds += facts.get("seconds", 0.0)
    return found


def missing_blocks(study: Study, paths: StudyPaths, found: Coverage) -> list[Block]:
    """Return the blocks that test what is trained and not tested yet."""
    patterns: dict[bytes, list[int]] = {}
    for i, weights in enumerate(found.weights):
        if weights is not None and not found.done[i].all():
            patterns.setdefault(found.done[i].tobytes(), []).append(i)
    at_once = max(min(_NETWORKS, len(found.networks) // _BLOCKS), 1)
    blocks = []
    for members in patterns.values():
        tests = np.flatnonzero(~found.done[members[0]]).tolist()
        for chunk in (members[i : i + at_once] for i in range(0, len(members), at_once)):
            for start in range(0, len(tests), _TESTS):
                blocks.append(
                    Block(
                        study,
                        paths,
                        tuple(found.networks[i] for i in chunk),
                        tuple(str(found.weights[i]) for i in chunk),
                        tuple(tests[start : start + _TESTS]),
                    )
                )
    return blocks


def count_tables(study: Study, found: Coverage) -> Iterator[pl.DataFrame]:
    """Yield the counts of each finished block: a row per image, only pairs of this study, none twice."""
    tests = study.tests()
    for path, pairs in found.blocks:
        wanted = pl.DataFrame(
            {
                "train_condition": [found.networks[n].subject.id for n, _ in pairs],
                "seed": [found.networks[n].seed for n, _ in pairs],
                "test_condition": [tests[c].id for _, c in pairs],
            },
            schema_overrides={"seed": pl.Int64},
        )
        yield pl.read_parquet(path).join(wanted, on=wanted.columns, how="semi", maintain_order="left")


def tables(study: Study, found: Coverage) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return scores (a row per pair) and counts (a row per image), in the order of the study's networks and tests.

    Counts of more than 20 million rows are left in the blocks' own tables: None.
    """
    few = int(found.done.sum()) * study.split.test <= _COUNTS_GATHERED
    trained = {t.id: i for i, t in enumerate(study.trainings)}
    tested = {t.id: i for i, t in enumerate(study.tests())}
    scores, counts = [], []
    for table in count_tables(study, found):
        scores.append(cross_table(table))
        if few:
            counts.append(table)

    def ordered(parts: list[pl.DataFrame], *last: str) -> pl.DataFrame:
        columns = {"train_condition": trained, "test_condition": tested}
        keys = [pl.col(c).replace_strict(place, return_dtype=pl.Int32) for c, place in columns.items()]
        return pl.concat(parts).sort(keys[0], "seed", keys[1], *last)

    return ordered(scores), ordered(counts, "specimen") if few else None
