"""Measure what `passband simulate --conditions` takes for training images of 512², as a whole command, and to go on where it ended.

python benchmarks/training_images.py         # 100 images; writes the row
python benchmarks/training_images.py 500     # more, or fewer; only prints
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from microscope import process
from rows import CORES, Row, write

from passband.files.atomic import write_text

# 500 images in 15 minutes of two cores.
_IMAGES, _AIM_SECONDS = 100, 3.6
_SIDE, _PIXEL = 512, 0.4
_RECIPE = Path(__file__).parent.parent / "studies/recipes/au_on_carbon_wide.yaml"


def main() -> None:
    """Measure, and write the row if it is of as many images as the aim."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _IMAGES
    with tempfile.TemporaryDirectory() as place:
        recipe, field = Path(place, "wide.yaml"), "field_angstrom: 102.4"
        text = _RECIPE.read_text(encoding="utf-8")
        assert field in text
        write_text(recipe, text.replace(field, f"field_angstrom: {_SIDE * _PIXEL:g}"))
        order = ["simulate", str(recipe), "--conditions", "titan_corrected_300kv:residuals", "--count", str(count)]
        order += ["--out", f"{place}/out"]
        seconds, memory = process(*order)
        # Of all its processes.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        process(*order)
        again = time.perf_counter() - began
    # Other work on the machine lengthens the time by the clock, hardly this.
    core = (used.ru_utime + used.ru_stime) / count
    note = f"whole process; {seconds:.0f} s by the clock on {CORES} cores; {memory:.2f} GiB in the largest process; again in {again:.1f} s"
    if count != _IMAGES:
        print(f"{count} images: {core:.2f} s of one core each; {note}")
        return
    name = f"{_IMAGES} training images of {_SIDE}² on disk, 4 a specimen"
    write(Row(name, core, _AIM_SECONDS, "s of one core an image; aim", _AIM_SECONDS / core, 1.0, note=note))


if __name__ == "__main__":
    main()
