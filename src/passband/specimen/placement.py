"""Places for particles that neither touch nor leave the field."""

import numpy as np

#: Clear distance between particles, and half of it to the field's edge [Å].
GAP = 4.0


def draw_places(radii: np.ndarray, field: float, rng: np.random.Generator) -> np.ndarray | None:
    """Return centres, shape [n, 2] [Å], or None if this try found no room.

    Args:
        radii: radius of each particle's projection [Å], shape [n].
        field: side of the square field [Å].
        rng: source of randomness.
    """
    places: list[np.ndarray] = []
    for i, radius in enumerate(radii):
        margin = radius + GAP / 2
        for _ in range(50):
            place = rng.uniform(margin, field - margin, 2)
            if all(np.hypot(*(place - other)) >= radius + r + GAP for other, r in zip(places, radii[:i], strict=True)):
                places.append(place)
                break
        else:
            return None
    return np.array(places)
