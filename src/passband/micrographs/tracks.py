"""Follow particles from image to image by their places and sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

#: Images in a row in which a particle may be missing.
MOST_MISSING = 3
# A particle moves less than this share of its diameter beyond what its velocity predicts, and its diameter changes by less than this factor.
_REACH, _FACTOR = 0.6, 1.6
# Sightings that give the velocity.
_RECENT = 4


@dataclass
class _Track:
    number: int
    seen: list[tuple[int, float, float, float]] = field(default_factory=list)

    def expected(self, image: int) -> tuple[float, float, float, float]:
        """Return place and diameter [Å], and images since the last sighting."""
        last, x, y, diameter = self.seen[-1]
        first = self.seen[-_RECENT:][0]
        steps, gap = last - first[0], image - last
        if steps:
            x, y = (end + gap * (end - begin) / steps for begin, end in ((first[1], x), (first[2], y)))
        return x, y, diameter, gap


def follow(tables: Sequence[pl.DataFrame]) -> pl.Series:
    """Return the number of the track, from 1, of each particle of some images in their order, one image after the other.

    Particles of one image and tracks are assigned to each other so that the sum of squared distances, in parts of the reach, and of
    changes of size is smallest (`scipy.optimize.linear_sum_assignment`); what is out of reach begins a new track. A particle may be
    missing in up to three images. Tables have x_angstrom, y_angstrom and equivalent_diameter_angstrom.
    """
    tracks: list[_Track] = []
    numbers: list[int] = []
    for image, table in enumerate(tables):
        particles = table.select("x_angstrom", "y_angstrom", "equivalent_diameter_angstrom").to_numpy()
        active = [track for track in tracks if image - track.seen[-1][0] <= MOST_MISSING + 1]
        found: dict[int, _Track] = {}
        if active and len(particles):
            x, y, diameter, gap = np.array([track.expected(image) for track in active]).T[..., None]
            size = np.sqrt(diameter * particles[:, 2])
            distance = np.hypot(x - particles[:, 0], y - particles[:, 1]) / (_REACH * size * np.sqrt(gap))
            change = np.abs(np.log(particles[:, 2] / diameter)) / math.log(_FACTOR)
            cost = np.minimum(distance**2 + change**2, 1.0)
            rows, columns = linear_sum_assignment(cost)
            found = {int(c): active[r] for r, c in zip(rows, columns, strict=True) if cost[r, c] < 1}
        for i, (x, y, diameter) in enumerate(particles.tolist()):
            track = found.get(i)
            if track is None:
                track = _Track(len(tracks) + 1)
                tracks.append(track)
            track.seen.append((image, x, y, diameter))
            numbers.append(track.number)
    return pl.Series("track", numbers, dtype=pl.Int64)
