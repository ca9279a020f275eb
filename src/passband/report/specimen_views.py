"""Previews and galleries of specimens, each a single page that opens offline."""

import html
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id, seed_from
from passband.conditions import Condition
from passband.execution.base import Progress
from passband.figures import specimen_sheet, style
from passband.files import yaml_config
from passband.files.atomic import require_replaceable, write_file, write_text
from passband.report import pages
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.imaging import normalize
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, Specimen, draw_specimen, make_labels
from passband.specimens.labels import atomic_columns, zone_axis
from passband.specimens.radial_distribution import radial_distribution

# Pixel of the labels in a sheet, about [Å].
_PIXEL = 0.2
_MOST_IN_3D = 60_000
_EACH: dict[str, Any] = {"focal_spread_angstrom": 20.0, "pixel_size_angstrom": 0.4, "dose_per_angstrom2": 1000.0}
#: Conditions of a preview by default.
DEFAULT_CONDITIONS = [
    ("corrected, 50 Å under", Condition(energy_ev=3e5, aberrations={"C10": -50.0, "C30": -5e4}, **_EACH)),
    ("corrected, 200 Å over", Condition(energy_ev=3e5, aberrations={"C10": 200.0, "C30": -5e4}, **_EACH)),
    ("uncorrected, Scherzer", Condition(energy_ev=3e5, aberrations={"C10": -420.0, "C30": 6e6}, **_EACH)),
]
Named = list[tuple[str, Condition]]


def preview(recipe: Recipe, index: int, conditions: Named, folder: Path, name: str) -> dict[str, Any]:
    """Write NAME.png and NAME.html of one specimen, with an image for each condition; return paths and a row for each particle.

    Raises:
        BadInputError: if a condition does not fit the recipe.
    """
    check_conditions(recipe, conditions)
    for suffix in (".png", ".html"):
        require_replaceable(folder / f"{name}{suffix}")
    specimen = draw_specimen(recipe, index)
    panels = _panels(recipe, specimen, index, conditions)
    sheet = style.png(12.5, 9.0, partial(specimen_sheet.draw_preview, panels))
    rows = describe(specimen)
    write_file(folder / f"{name}.png", lambda path: path.write_bytes(sheet))
    identity = content_id(recipe.model_dump(mode="json"))
    table = pages.table([list(row.values()) for row in rows], list(rows[0]) if rows else [])
    body = (
        f"{table}{pages.picture(sheet, 'sheet of the specimen')}<h2>In three dimensions</h2>{_view(specimen)}"
        f"<h2>Recipe</h2><pre>{html.escape(yaml_config.dump(recipe)[:20_000])}</pre>"
    )
    title = f"{name}: recipe {identity}, scene {index}, seed {recipe.seed}"
    write_text(folder / f"{name}.html", pages.page(title, body))
    return {
        "recipe": identity,
        "index": index,
        "seed": recipe.seed,
        "atoms": len(specimen.atoms),
        "particles": rows,
        "sheet": str(folder / f"{name}.png"),
        "page": str(folder / f"{name}.html"),
    }


def gallery(recipes: list[tuple[str, Recipe]], count: int, conditions: Named, path: Path, progress: Progress) -> int:
    """Write a page with the first `count` scenes of each recipe, an image for each condition; return how many scenes."""
    require_replaceable(path)
    for _, recipe in recipes:
        check_conditions(recipe, conditions)
    images = [name for name, _ in conditions]
    columns = ["potential, columns", "side", *images, "instances", "distance to boundary", "thickness"]
    head = '<div class="head">' + "".join(f"<span>{html.escape(c)}</span>" for c in columns) + "</div>"
    scenes = []
    for name, recipe in recipes:
        for index in range(count):
            specimen = draw_specimen(recipe, index)
            row = partial(specimen_sheet.draw_row, _panels(recipe, specimen, index, conditions))
            sheet = style.png(15.0, 2.0, row, dpi=100)
            rows = ((f"{r['crystal']} {r['shape']} {r['diameter [Å]']} Å", r["zone axis"]) for r in describe(specimen))
            particles = "; ".join(", ".join(filter(None, row)) for row in rows)
            title = f"{name}, scene {index}"
            caption = f"<figcaption><b>{html.escape(title)}</b> {html.escape(particles)}</figcaption>"
            scenes.append(f"<figure>{caption}{head}{pages.picture(sheet, title)}</figure>")
            progress(1.0)
    write_text(path, pages.page("Specimens", "".join(scenes)))
    return len(scenes)


def check_conditions(recipe: Recipe, conditions: Named) -> None:
    """Refuse conditions that do not fit a recipe, before any work.

    Raises:
        BadInputError: naming the fault.
    """
    if not 1 <= len(conditions) <= 3:
        room = f"a sheet has room for one to three; give as many by {parameter('condition')}"
        raise BadInputError(f"{len(conditions)} conditions: {room}")
    energies = sorted({c.energy_ev for _, c in conditions})
    if len(energies) > 1:
        listed = ", ".join(f"{e:g}" for e in energies)
        what = f"the conditions have energies of {listed} eV; exit waves belong to one, name conditions of the same"
        raise BadInputError(what)
    for _, condition in conditions:
        Imager(condition, recipe.field_angstrom, ExitWaveConfig(energy_ev=condition.energy_ev)).check()


def describe(specimen: Specimen) -> list[dict[str, Any]]:
    """Return what is known of each particle, for tables."""
    rows = []
    for number, truth in enumerate(specimen.particles, start=1):
        atoms = specimen.particle == number
        axis = None
        if len(truth.lattices):
            first = atoms & (specimen.grain == specimen.grain[atoms][0])
            height = float(np.ptp(specimen.atoms.positions[first, 2]))
            axis = zone_axis(truth.lattices[specimen.grain[first][0]], height)
        zone = "" if axis is None else f"[{' '.join(str(int(i)) for i in axis[0])}] tilted {1e3 * axis[1]:.0f} mrad"
        rows.append(
            {
                "particle": number,
                "crystal": truth.crystal,
                "shape": truth.shape,
                "atoms": int(atoms.sum()),
                "diameter [Å]": round(truth.diameter, 1),
                "x, y, z [Å]": ", ".join(f"{v:.1f}" for v in truth.centre),
                "grains": len(truth.lattices) or None,
                "twins": truth.twins,
                "stacking faults": truth.stacking_faults,
                "zone axis": zone,
            }
        )
    return rows


def _panels(recipe: Recipe, specimen: Specimen, index: int, conditions: Named) -> dict[str, Any]:
    field, height = recipe.field_angstrom, float(specimen.atoms.cell[2, 2])
    n = max(64, round(field / _PIXEL))
    labels = make_labels(specimen, n)
    columns = atomic_columns(specimen)
    x, _, z = specimen.atoms.positions.T
    bins = (n // 2, max(8, round(height / field * n / 2)))
    weights = specimen.atoms.numbers.astype(float) ** 1.5
    side, _, _ = np.histogram2d(x, z, bins=bins, range=((0, field), (0, height)), weights=weights)
    return {
        "field": field,
        "height": height,
        "names": labels.names,
        **{name: getattr(labels, name).T for name in specimen_sheet.MAPS},
        "side": side,
        "columns": (columns["x"], columns["y"]),
        "rdf": _rdf(specimen),
        "images": _images(recipe, index, conditions),
    }


def _rdf(specimen: Specimen) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return g(r) of the film, where it is thick enough."""
    cell = np.diag(np.array(specimen.atoms.cell))
    film = specimen.atoms.positions[specimen.particle == 0]
    if specimen.film is None or not len(film):
        return {}
    reach = min(8.0, (specimen.film[1] - specimen.film[0]) / 2 - 2.0, cell[0] / 2)
    return {"film": radial_distribution(film, cell, reach, 120, periodic_z=False)} if reach > 3 else {}


def _images(recipe: Recipe, index: int, conditions: Named) -> dict[str, np.ndarray]:
    config = ExitWaveConfig(energy_ev=conditions[0][1].energy_ev)
    wave, mask = scatter(recipe, [index], config)
    images = {}
    for name, condition in conditions:
        imager = Imager(condition, recipe.field_angstrom, config)
        seed = seed_from("preview", recipe.seed, index, condition.id)
        images[name] = normalize(imager.images(wave, mask, seed=seed).counts)[0].T.numpy()
    return images


def _view(specimen: Specimen) -> str:
    """Return the atoms in a view to turn, as HTML: particles whole, and every k-th atom of a large film."""
    import plotly.graph_objects as go

    keep = np.arange(len(specimen.atoms))
    if len(keep) > _MOST_IN_3D:
        film = keep[specimen.particle == 0]
        keep = np.concatenate([film[:: len(film) // _MOST_IN_3D + 1], keep[specimen.particle > 0]])
    numbers, positions = specimen.atoms.numbers[keep], np.round(specimen.atoms.positions[keep], 2)
    traces = []
    for z in dict.fromkeys(numbers.tolist()):
        colour = "rgb({:.0f},{:.0f},{:.0f})".format(*(255 * jmol_colors[z]))
        marker = {"size": round(2.2 * float(covalent_radii[z]), 1), "color": colour, "line": {"width": 0}}
        places = dict(zip("xyz", positions[numbers == z].T, strict=True))
        traces.append(go.Scatter3d(**places, mode="markers", name=chemical_symbols[z], marker=marker, hoverinfo="name"))
    made = go.Figure(traces)
    made.update_layout(
        height=700,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={"aspectmode": "data", "xaxis_title": "x [Å]", "yaxis_title": "y [Å]", "zaxis_title": "z [Å], beam"},
    )
    return str(made.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}))
