"""Make a carbon film with Construction Zone, in its own environment: construction_zone_film.py X Y Z [Å] SEED; prints JSON."""

import contextlib
import importlib.metadata
import io
import json
import sys
import time

import numpy as np
from scipy.spatial import cKDTree

with contextlib.redirect_stdout(io.StringIO()):  # it prints a line about ipywidgets
    from czone.generator import AmorphousGenerator
    from czone.volume import makeRectPrism

x, y, z = map(float, sys.argv[1:4])
np.random.seed(int(sys.argv[4]))  # noqa: NPY002, the generator knows no other
began = time.process_time()
atoms, _ = AmorphousGenerator().supply_atoms(makeRectPrism(x, y, z))
seconds = time.process_time() - began
nearest = float(cKDTree(atoms).query(atoms, k=2)[0][:, 1].min())
version = importlib.metadata.version("czone")
print(json.dumps({"seconds": seconds, "atoms": len(atoms), "smallest_distance": nearest, "version": version}))
