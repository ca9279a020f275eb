"""Write particles as other programs take them: ImageJ's regions and COCO; `labels` reads both back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_Points = NDArray[np.int64]
_Mask = NDArray[np.bool_]
Outlines = list[tuple[_Points, bool]]


def outlines(mask: _Mask) -> Outlines:
    """Return the corners (x, y) of the outlines of a mask along the sides of its pixels, and whether each is that of a hole.

    Whole numbers are corners of pixels. Pixels that share no more than a corner have outlines of their own. Holes run the other way round.
    """
    padded = np.pad(mask, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    # A corner has one or three of four pixels; where two lie across, there are two corners.
    across = (a == d) & (b == c) & (a != b)
    y, x = np.nonzero((a ^ b ^ c ^ d) | across)
    twice = across[y, x]
    # Of two corners at one place, the first ends the side from the left; it has the side upwards if the upper left pixel is inside.
    side = np.concatenate([np.zeros(len(y), int), np.ones(int(twice.sum()), int)])
    y, x = np.concatenate([y, y[twice]]), np.concatenate([x, x[twice]])
    rowwise = np.lexsort((side, x, y))
    y, x, side = y[rowwise], x[rowwise], side[rowwise]
    upwards = side ^ (across & b)[y, x]
    partners = []
    # Along a row, and down a column, sides begin and end in turn.
    for order in (np.arange(len(y)), np.lexsort((upwards, y, x))):
        partner = np.empty(len(y), int)
        partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
        partners.append(partner.tolist())
    found, seen = [], [False] * len(y)
    for start in range(len(y)):
        path, at = [], start
        while not seen[at]:
            other = partners[0][at]
            path += [at, other]
            seen[at] = seen[other] = True
            at = partners[1][other]
        if path:
            # The first corner is the upper left one of its outline.
            hole = not d[y[start], x[start]]
            points = np.stack([x[path], y[path]], axis=1)
            following = np.roll(points, -1, axis=0)
            turn = (points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum()
            found.append((points if (turn > 0) != hole else points[::-1], hole))
    return found


def particle_outlines(instances: NDArray[Any]) -> list[Outlines]:
    """Return the `outlines` of each numbered particle, in the image's pixels."""
    found: list[Outlines] = []
    for number, place in enumerate(ndimage.find_objects(instances), 1):
        corner = [place[1].start, place[0].start]
        found.append([(points + corner, hole) for points, hole in outlines(instances[place] == number)])
    return found


def write_rois(path: Path, drawn: Sequence[Outlines]) -> None:
    """Write the regions of ImageJ's ROI manager, a particle each, named after its number: traced ones, with holes composite ones."""
    from roifile import ROI_TYPE, ImagejRoi, roiwrite

    rois = []
    for number, lines in enumerate(drawn, 1):
        points = np.concatenate([p for p, _ in lines])
        roi = ImagejRoi.frompoints(points, name=f"{number:04d}")
        roi.roitype = ROI_TYPE.TRACED
        roi.right, roi.bottom = (int(n) for n in points.max(0))
        if len(lines) > 1:
            steps = [[0.0, *p[0], *(v for q in p[1:] for v in (1.0, *q)), 4.0] for p, _ in lines]
            roi.multi_coordinates = np.concatenate(steps).astype(np.float32)
            roi.roitype, roi.shape_roi_size = ROI_TYPE.RECT, len(roi.multi_coordinates)
            roi.integer_coordinates, roi.n_coordinates = None, 0
        rois.append(roi)
    roiwrite(path, rois, mode="w")


def write_coco(
    path: Path,
    instances: NDArray[np.int32],
    drawn: Sequence[Outlines],
    file_name: str,
    scores: Sequence[float | None],
) -> None:
    """Write a COCO file of one image and category, a particle an annotation: polygons, or runs where it has holes.

    Scores, one a particle, are added where they are known.
    """
    h, w = instances.shape
    annotations = coco_annotations(instances, drawn)
    content = {
        "images": [{"id": 1, "file_name": file_name, "width": w, "height": h}],
        "categories": [{"id": 1, "name": "particle"}],
        "annotations": [
            {"id": number, "image_id": 1} | annotation | ({} if score is None else {"score": round(score, 3)})
            for number, (annotation, score) in enumerate(zip(annotations, scores, strict=True), 1)
        ],
    }
    # A line for all: indented, each number would have its own.
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def coco_annotations(
    instances: NDArray[Any], drawn: Sequence[Outlines], categories: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Return COCO's annotation of each numbered particle, without ids: category (1 if left out), area, box and outline.

    The outline is polygons, or runs where the particle has holes.
    """
    h, w = instances.shape
    annotations = []
    areas = np.bincount(instances.ravel())[1:].tolist()
    places = ndimage.find_objects(instances)
    for number, (lines, (rows, columns)) in enumerate(zip(drawn, places, strict=True), 1):
        segmentation: Any = [points.ravel().tolist() for points, _ in lines]
        if any(hole for _, hole in lines):
            x, y = np.nonzero((instances[rows, columns] == number).T)
            flat = (x + columns.start) * h + y + rows.start
            first = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
            ends = np.append(flat[first[1:] - 1], flat[-1]) + 1
            bounds = np.stack([flat[first], ends], axis=1).ravel()
            segmentation = {"size": [h, w], "counts": np.diff(bounds, prepend=0, append=h * w).tolist()}
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        annotation = {"category_id": 1 if categories is None else categories[number - 1], "iscrowd": 0}
        annotations.append(annotation | {"area": areas[number - 1], "bbox": box, "segmentation": segmentation})
    return annotations
