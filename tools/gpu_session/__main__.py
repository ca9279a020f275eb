"""Prove and measure passband on a GPU that is at hand for minutes, on a machine without network.

    python tools/gpu_session pack --out PACK                   here: wheels, and what a CPU makes of the checks
    python tools/gpu_session run --pack PACK --out FOLDER      there: checks, benchmark rows, a study; 8 minutes
    python tools/gpu_session merge FOLDER                      here: rows into benchmarks/results, tables into runs/

The other machine needs Python 3.12, PyTorch, NumPy and SciPy, this repository and the pack; nothing is installed there. FOLDER is what
comes back. Try everything beforehand with `pack --small` and `run --device cpu`.
"""

import time

_BEGAN = time.monotonic()

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import zipfile  # noqa: E402
from pathlib import Path  # noqa: E402

_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Parse the command line and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack", help="make the folder that travels with the repository")
    packing.add_argument("--out", type=Path, required=True)
    packing.add_argument("--small", action="store_true", help="as small as a trial on a CPU needs")
    packing.add_argument("--no-wheels", action="store_true", help="where nothing is lacking")
    running = verbs.add_parser("run", help="check, measure and train on the GPU")
    running.add_argument("studies", nargs="*", type=Path, help="studies to train; without one, a sweep of defocus")
    running.add_argument("--pack", type=Path, help="the folder that `pack` made")
    running.add_argument("--out", type=Path, help="what comes back: session.json, and scores of each study")
    running.add_argument("--work", type=Path, default=Path("runs/gpu_session"), help="exit waves; need not come back")
    running.add_argument("--seconds", type=float, default=480.0, help="all ends by then")
    running.add_argument("--group", type=int, default=128, help="networks trained together")
    running.add_argument(
        "--cores",
        type=int,
        default=max(len(os.sched_getaffinity(0)) - 2, 1),
        help="that make exit waves; all but two, which serve the GPU",
    )
    running.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    running.add_argument("--dry-run", action="store_true", help="print the seconds of each step and end")
    merging = verbs.add_parser("merge", help="put what came back where it belongs")
    merging.add_argument("session", type=Path)
    merging.add_argument("--work", type=Path, default=Path("runs"), help="folder of the studies")
    merging.add_argument(
        "--results", type=Path, help="folder of the benchmarks' rows; of a trial on a CPU, none unless given"
    )
    helper = verbs.add_parser("waves")
    helper.add_argument("study", type=Path)
    helper.add_argument("--work", type=Path, required=True)
    helper.add_argument("--cores", type=int, required=True)
    options = parser.parse_args()
    if options.verb == "run" and not options.dry_run and None in (options.pack, options.out):
        running.error("--pack and --out are needed")
    if options.verb == "run" and options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    _find_packages(options.pack if options.verb == "run" else None)
    from passband.base.errors import BadInputError

    try:
        sys.exit(_do(options))
    except BadInputError as error:
        parser.error(str(error))


def _find_packages(pack: Path | None) -> None:
    """Let Python, and processes that it starts, find passband, the benchmarks, and what is in the pack's wheels."""
    places = [str(_ROOT / "src"), str(_ROOT), str(_ROOT / "benchmarks")]
    wheels = sorted((pack / "wheels").glob("*.whl")) if pack else []
    if wheels:
        site = Path(tempfile.mkdtemp(prefix="gpu_session-"))
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        places.append(str(site))
    sys.path[:0] = places
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])


def _do(options: argparse.Namespace) -> int:
    if options.verb == "pack":
        from tools.gpu_session.pack import MOST, pack

        sizes = pack(options.out, small=options.small, wheels=not options.no_wheels)
        for name, size in sizes.items():
            print(f"{size / 1e6:6.2f} MB  {name}")
        print(f"{sum(sizes.values()) / 1e6:6.2f} MB  together, of {MOST / 1e6:.0f}")
        return 0
    if options.verb == "waves":
        from passband.studies.paths import StudyPaths
        from passband.studies.study import load_study
        from tools.gpu_session.fleet import waves

        waves(load_study(options.study), StudyPaths(options.work / options.study.stem), options.cores)
        return 0
    if options.verb == "merge":
        from tools.gpu_session.merge import merge

        for line in merge(options.session, options.work, options.results):
            print(line)
        return 0
    from accelerator import Accelerator

    from passband.base.errors import BadInputError
    from tools.gpu_session import session

    device = Accelerator(options.device)
    if options.dry_run:
        print(session.plan(device, options.seconds))
        return 0
    if not device.is_there():
        raise BadInputError("PyTorch sees no GPU here; use --device cpu to try it without")
    given = {name: getattr(options, name) for name in ("pack", "out", "work", "studies", "seconds", "group", "cores")}
    return 0 if session.run(session.Options(**given, device=device, began=_BEGAN)) else 1


if __name__ == "__main__":
    main()
