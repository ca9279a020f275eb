"""A watch whose images are not segmented: stubs take the place of network, optics and sandbox.

Each content has a pixel size of its own, which the table then shows. `python -m support.watching FOLDER OUT KILLS` kills a watch so many times, and
prints what was finished each time.
"""

import json
import os
import signal
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile

from passband.base.errors import BadInputError
from passband.execution.base import Serial
from passband.micrographs.micrograph import Micrograph
from passband.sessions import image_job
from passband.sessions.image_job import Findings, Settings
from passband.sessions.watch import Watch
from passband.sessions.watch_folder import WatchedFolder


def pixel_of(number):
    """Pixel size of the content of this number [Å]."""
    return 0.2 + number / 1000


def content(number, folder, side=64):
    """Bytes of a TIFF whose pixel size is its number's."""
    path = folder / f"{number}.made"
    per_nm = 10 / pixel_of(number)
    scale = {"resolution": (per_nm, per_nm), "metadata": {"unit": "nm"}}
    image = np.random.default_rng(number).normal(100, 8, (side, side)).astype(np.float32)
    tifffile.imwrite(path, image, imagej=True, **scale)
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def stubbed(settings, micrograph, progress):
    """Stands for the network: what is known of an image without it."""
    return Findings(micrograph)


def read(path, **given):
    """Stands for the sandbox: read a TIFF in this process."""
    try:
        with tifffile.TiffFile(BytesIO(path.read_bytes())) as file:
            per_nm = file.pages[0].resolution[0]
            return [Micrograph(file.asarray(), name=path.name, pixel_size_angstrom=10 / per_nm)]
    except Exception as error:
        raise BadInputError(f"cannot be read: {error}", place=path.name) from None


def stub(patch=setattr):
    """Put the stubs in their places; `patch` is that of pytest, which takes them back."""
    patch(image_job, "analyse", stubbed)
    patch(image_job, "read_micrographs", read)


def watched(folder, out, idle, rest=(0.2, 1.5)):
    """Return a watch with short rests."""
    looks = WatchedFolder(folder, out, rest)
    return Watch(Settings.of("estimate", out, None), folder, until_idle_seconds=idle, looks=looks)


def killed(folder, out, kills):
    """Kill a watch so many times after its second line, add a file each time, and let the last one end; yield what was finished each time."""
    for kill in range(kills + 1):
        near, far = os.pipe()
        child = os.fork()
        if child == 0:
            # What this process has imported, its fork need not.
            with watched(folder, out, idle=1.0) as session, os.fdopen(far, "w") as lines:
                for image in session.images(Serial()):
                    print(image, file=lines, flush=True)
                session.finish()
            os._exit(0)
        os.close(far)
        with os.fdopen(near) as lines:
            told = [lines.readline(), lines.readline()] if kill < kills else lines.readlines()
            if kill < kills:
                os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if kill < kills:
            (folder / f"later_{kill}.tif").write_bytes(content(100 + kill, out))
        yield {
            "code": code,
            "lines": len(told),
            "done": {str(path): path.stat().st_mtime_ns for path in out.glob("finished/session-*/done.json")},
        }


if __name__ == "__main__":
    stub()
    for step in killed(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])):
        print(json.dumps(step), flush=True)
