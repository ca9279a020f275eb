"""Read damaged micrographs for a given time, and report every outcome that is neither a micrograph nor a one-line error.

    nice .venv/bin/python tools/fuzz_micrographs.py --minutes 10 --seed 1 [--corpus FOLDER] [--reasons]

Each case is a small file of one format (from tests/support/files.py, and from a folder if one is given). Most cases have one to three
bytes changed, so that half of all are still read and their metadata and pixels are decoded; the others have bytes cut, doubled, swapped
with another file's, or overwritten by implausible lengths. It is read as the worker of passband.micrographs.sandbox.parsing
reads it, in a child forked from a process that has imported the readers, so hundreds are read per minute. A case is a finding if
the child raises, exceeds its time or memory, warns, or returns anything but a Micrograph or one BadInputError of one line. A child
that crashes gives the user one line, and is counted separately. The exit code is 1 if there are findings; the files that caused them are kept.
"""

import argparse
import collections
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
os.environ |= {"DASK_SCHEDULER": "synchronous", "HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PRELOAD": "::"}
sys.modules |= dict.fromkeys(("distributed", "pandas", "pyarrow", "sparse"))

from passband.base.errors import BadInputError  # noqa: E402
from passband.micrographs import formats, reading  # noqa: E402
from passband.micrographs.formats import decode  # noqa: E402
from passband.micrographs.micrograph import Calibration, Micrograph  # noqa: E402
from passband.micrographs.sandbox import parse_worker, parsing  # noqa: E402
from support import files  # noqa: E402

# PNGs have no pixel size of their own.
GIVEN = Calibration(pixel_size_angstrom=0.25)
SECONDS = 10
MEMORY = 2 * 1024**3
RESIDENT = 1_500_000_000
LARGEST_FILE = 2_000_000
LARGEST_CLEANED = 2_000_000
LARGEST_TEXT = 200_000
NUMBERS = [0, 1, 2, 3, 20, 64, 127, 128, 255, 256, 32767, 65535, 65536, 100_000, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def scratched(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to three bytes changed: anywhere, near the beginning, or in a text of the metadata."""
    data = bytearray(content)
    texts = [match.span() for match in re.finditer(rb"[A-Za-z0-9 /.^\-]{4,}", content[:LARGEST_TEXT])]
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(data)))
        kind = rng.random()
        if kind < 0.2:
            place = min(int(rng.exponential(2000)), len(data) - 1)
        if kind > 0.8 and texts:
            start, end = texts[int(rng.integers(len(texts)))]
            data[int(rng.integers(start, end))] = int(rng.choice(list(b"0123456789eE-+./ \x00\x1b\xff&<%")))
        else:
            data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def mutated(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with a few changes of random kinds; most fall on its beginning or end, where the structure is."""
    if rng.random() < 0.75:
        return scratched(content, rng)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        place = int(rng.integers(len(data)))
        if rng.random() < 0.6:
            place = min(int(rng.exponential(400)), len(data) - 1)
            place = place if rng.random() < 0.7 else len(data) - 1 - place
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(9))
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place : place + length] = rng.bytes(length)
        elif kind == 2:
            data = data[:place]
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length] * int(rng.integers(1, 50))
        elif kind == 5 and other:
            start = int(rng.integers(len(other)))
            data[place : place + length] = other[start : start + length]
        elif kind == 6 and other:
            data = data[:place] + other[place:]
        else:
            value = NUMBERS[int(rng.integers(len(NUMBERS)))]
            form = ("<H", ">H", "<I", ">I", "<Q", ">Q")[int(rng.integers(6))]
            packed = struct.pack(form, (value if rng.random() < 0.8 else -value) % 256 ** struct.calcsize(form))
            place -= place % (1 if rng.random() < 0.3 else 4)
            data[place : place + len(packed)] = packed
    return bytes(data)


def child(path: Path, folder: Path) -> None:
    """Read a file as the worker does; ends the process."""
    try:
        parse_worker.limit(MEMORY, SECONDS)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.addaudithook(parse_worker.guard(path, folder))
        originals = formats.datasets, decode.micrographs

        @contextlib.contextmanager
        def noted():
            try:
                yield
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                note = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
                (folder / "note").write_text(note, encoding="utf-8")
                raise

        def datasets(*arguments):
            with noted():
                return originals[0](*arguments)

        def micrographs(*arguments):
            with noted():
                yield from originals[1](*arguments)

        formats.datasets, decode.micrographs = datasets, micrographs
        text = json.dumps(parse_worker.answer(path, None, folder, GIVEN), allow_nan=False)
        (folder / "answer.json").write_text(text, encoding="utf-8")
    except BaseException:
        (folder / "traceback").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    os._exit(0)


def run(path: Path, folder: Path) -> tuple[int, float, int]:
    """Return exit status (negative for a signal), seconds of processor time, and bytes of memory of a child that reads."""
    before = time.monotonic()
    number = os.fork()
    if number == 0:
        child(path, folder)
    while True:
        ended, status, used = os.wait4(number, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - before > 12 * SECONDS:
            os.kill(number, signal.SIGKILL)
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def outcome(path: Path, folder: Path, status: int) -> str:
    """Return what a user gets: `read`, or the line; anything else raises."""
    try:
        for image in parsing._collect(folder, status, parsing.Limits(SECONDS, MEMORY), path.name):
            if image.intensity.size <= LARGEST_CLEANED:
                cleaned = reading._cleaned(image)
                assert isinstance(cleaned, Micrograph) and all("\n" not in line for line in cleaned.notes)
    except BadInputError as error:
        line = str(error)
        assert line and len(line) < 900 and line.isprintable(), line
        return line
    return "read"


def main() -> int:
    """Fuzz; print a table and the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="a folder with more files to begin from")
    parser.add_argument("--reasons", action="store_true", help="also print where readers gave up")
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        return fuzz(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(options: argparse.Namespace, folder: Path) -> int:
    """Run cases until the time is up."""
    seeds: dict[str, list[bytes]] = collections.defaultdict(list)
    for path in files.one_of_each(folder / "seeds"):
        parse_worker.answer(path, None, folder)  # imports the reader
        seeds[path.suffix if path.suffix != ".emd" else f"{path.stem}.emd"].append(path.read_bytes())
    for path in sorted(options.corpus.rglob("*")) if options.corpus else []:
        if path.suffix in formats.READERS and path.is_file() and path.stat().st_size < LARGEST_FILE:
            name = (
                path.suffix if path.suffix != ".emd" else ("velox.emd" if b"Velox" in path.read_bytes() else "ncem.emd")
            )
            seeds[name].append(path.read_bytes())
    seeds[".tif"] += seeds.pop(".tiff", [])
    seeds[".mrc"] += seeds.pop(".mrcs", [])
    kinds = sorted(seeds)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    worst = {kind: [0.0, 0] for kind in kinds}
    reasons: collections.Counter[str] = collections.Counter()
    findings: list[str] = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end = time.monotonic() + 60 * options.minutes
    case = 0
    while time.monotonic() < end:
        kind = kinds[case % len(kinds)]
        rng = np.random.default_rng([options.seed, case])
        first, second = (seeds[kind][int(rng.integers(len(seeds[kind])))] for _ in range(2))
        place = folder / "case"
        place.mkdir()
        path = folder / f"case{Path(kind).suffix or kind}"
        path.write_bytes(mutated(first, second, rng))
        status, seconds, memory = run(path, place)
        faults = []
        if (place / "traceback").exists():
            faults.append((place / "traceback").read_text(encoding="utf-8"))
        if seconds > SECONDS + 1 or status == -signal.SIGKILL:
            faults.append(f"took {seconds:.0f} s")
        if memory > RESIDENT:
            faults.append(f"took {memory / 1e6:.0f} MB")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                line = outcome(path, place, status)
        except Exception:
            line = "raised"
            faults.append(traceback.format_exc())
        group = "read" if line == "read" else "too slow" if "takes more than" in line else "refused"
        counts[kind]["crashed" if status < 0 and status != -signal.SIGXCPU else group] += 1
        worst[kind] = [max(worst[kind][0], seconds), max(worst[kind][1], memory)]
        if (place / "note").exists():
            reasons[f"{kind}: {(place / 'note').read_text(encoding='utf-8')}"] += 1
        if status < 0:
            reasons[f"{kind}: signal {-status}"] += 1
        if faults or (status < 0 and options.reasons):
            options.kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, options.kept / f"{options.seed}-{case}{path.suffix}")
        findings += [f"case {case} ({kind}): {fault}" for fault in faults]
        shutil.rmtree(place)
        case += 1
    print(
        f"{'format':10} {'cases':>7} {'read':>7} {'refused':>8} {'too slow':>9} {'crashed':>8} {'s at most':>10} {'MB at most':>11}"
    )
    for kind in kinds:
        row = counts[kind]
        numbers = [row[name] for name in ("read", "refused", "too slow", "crashed")]
        print(
            f"{kind:10} {sum(numbers):7} {numbers[0]:7} {numbers[1]:8} {numbers[2]:9} {numbers[3]:8} {worst[kind][0]:10.1f} {worst[kind][1] / 1e6:11.0f}"
        )
    if options.reasons:
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            print(f"{count:6} {reason}")
    print(f"{case} cases, {len(findings)} findings" + "".join(f"\n{finding}" for finding in findings[:20]))
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
