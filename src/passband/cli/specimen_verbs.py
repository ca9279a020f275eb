"""The verbs of `passband specimen`: preview, gallery, compare, export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import warn
from passband.cli.ctf_verbs import read_condition
from passband.cli.options import Json, RecipeArgument, Seed, print_answer

specimen_app = typer.Typer(no_args_is_help=True, help="Draw, compare, export and import specimens.")
Index = Annotated[int, Option(min=0, help="Number of the scene, from 0.")]
Conditions = Annotated[
    list[Path] | None,
    Option("--condition", help="Condition file or preset for the images; up to three. Three usual ones if left out."),
]


@specimen_app.command("preview")
def preview(
    recipe: RecipeArgument,
    index: Index = 0,
    seed: Seed = None,
    conditions: Conditions = None,
    out: Annotated[Path, Option(help="Folder of the sheet and the page.")] = Path("runs/preview"),
    as_json: Json = False,
) -> None:
    """Draw one scene: projection, side view, radial distribution, images, every label, and a page with a 3-D view.

    Example:  passband specimen preview gold_on_carbon --index 3
    """
    family = read_recipe(recipe, seed)
    from passband.report import specimen_views

    facts = specimen_views.preview(family, index, _read_conditions(conditions), out, f"{recipe.stem}-{index}")
    lines = [
        f"{row['particle']}: {row['crystal']} {row['shape']}, {row['diameter [Å]']} Å, {row['atoms']} atoms {row['zone axis']}"
        for row in facts["particles"]
    ]
    lines += [f"{facts['atoms']} atoms", f"Sheet: {facts['sheet']}", f"Page:  {facts['page']}"]
    print_answer(facts, as_json, "\n".join(lines))


@specimen_app.command("gallery")
def gallery(
    recipes: Annotated[
        list[Path], Argument(metavar="RECIPE", help="Recipes of specimens: YAML files, or bundled ones by name.")
    ],
    count: Annotated[int, Option(min=1, max=100, help="Scenes of each recipe.")] = 2,
    conditions: Conditions = None,
    out: Annotated[Path, Option(help="The page.")] = Path("runs/gallery.html"),
    as_json: Json = False,
) -> None:
    """Draw the first scenes of several recipes on one page: structure, images, labels.

    Example:  passband specimen gallery studies/recipes/*.yaml
    """
    if out.suffix != ".html":
        raise BadInputError(f"--out {out}: a gallery is a page; end its name in .html")
    families = [(path.stem, read_recipe(path, None)) for path in recipes]
    from passband.report import specimen_views

    read = _read_conditions(conditions)
    with TerminalProgress() as progress:
        advance = progress.stage("scenes", count * len(families), 0)
        scenes = specimen_views.gallery(families, count, read, out, advance)
    print_answer({"scenes": scenes, "page": str(out)}, as_json, f"{scenes} scenes in {out}")


@specimen_app.command("compare")
def compare(
    first: RecipeArgument,
    second: Annotated[Path, Argument(metavar="OTHER", help="Another recipe, given in the same way.")],
    count: Annotated[int, Option(min=2, max=10_000, help="Scenes of each.")] = 30,
    as_json: Json = False,
) -> None:
    """Compare the scenes of two recipes: what each covers, and the distance of their particles' structures (SOAP).

    Example:  passband specimen compare structure/gold structure/gold_lattice_plus_5
    """
    families = [read_recipe(path, None) for path in (first, second)]
    import numpy as np

    from passband.base.identity import seed_from
    from passband.specimens import draw_specimen
    from passband.specimens.diversity import coverage, soap_comparison

    sets: list[list[Any]] = [[], []]
    with TerminalProgress() as progress:
        advance = progress.stage("scenes", 2 * count, 0)
        for family, scenes in zip(families, sets, strict=True):
            for i in range(count):
                scenes.append(draw_specimen(family, i))
                advance(1.0)
    rng = np.random.default_rng(seed_from("compare", count))
    answer: dict[str, Any] = {
        "first": coverage(sets[0]),
        "second": coverage(sets[1]),
        "soap": soap_comparison(*sets, rng=rng),
        "soap_geometry_only": soap_comparison(*sets, rng=rng, species_blind=True),
    }
    lines = [*_covered(first, answer["first"]), *_covered(second, answer["second"])]
    for key, title in (("soap", "with elements"), ("soap_geometry_only", "geometry only")):
        if answer[key]:
            lines.append(f"SOAP distance, {title}: {answer[key]['distance']:.4f} (p = {answer[key]['p']:.3f})")
    print_answer(answer, as_json, "\n".join(lines))


def _covered(recipe: Path, facts: dict[str, Any]) -> list[str]:
    """Return what a set of scenes covers, as lines to read."""
    crystals = ", ".join(f"{name} {share:.0%}" for name, share in (facts["composition"]["crystals"] or {}).items())
    lines = [f"{recipe}: {facts['particles']} particles in {facts['specimens']} scenes", f"  crystals      {crystals}"]
    for key, title in (("diameter_angstrom", "diameter"), ("film_thickness_angstrom", "film")):
        if size := facts[key]:
            span = f"{size['least']:.1f} to {size['greatest']:.1f}"
            lines.append(f"  {title:<13} {size['mean']:.1f} ± {size['deviation']:.1f} Å ({span})")
    if turns := facts["orientation"]:
        uniform = f"{turns['covered_if_uniform']:.0%} if uniform"
        lines.append(f"  orientations  {turns['covered']:.0%} of the sphere, {uniform}")
    return lines


@specimen_app.command("export")
def export(
    recipe: RecipeArgument,
    out: Annotated[Path, Argument(metavar="OUT", help="The file.")],
    index: Index = 0,
    seed: Seed = None,
    form: Annotated[
        str | None,
        Option(
            "--format",
            help="xyz (extended, with the particle of each atom), cif, prismatic, abtem (a script and its xyz) or labels (.npz); by the file's ending if left out.",
        ),
    ] = None,
    pixel_size: Annotated[float, Option(min=0.01, help="Pixel of the labels [Å].")] = 0.4,
    as_json: Json = False,
) -> None:
    """Export one scene to other programs; the same recipe, index and seed always give the same bytes.

    Example:  passband specimen export gold_on_carbon scene.xyz --index 3
    """
    family = read_recipe(recipe, seed)
    from passband.specimens import draw_specimen, exchange

    endings = {".xyz": "xyz", ".cif": "cif", ".py": "abtem", ".npz": "labels"}
    wanted = form or ("prismatic" if out.name.endswith(".prismatic.xyz") else endings.get(out.suffix))
    known = [*exchange.EXPORTS, "labels"]
    if wanted not in known:
        fault = f"format {form!r} is not known" if form else "its ending names no format"
        raise BadInputError(f"{out}: {fault}; use --format with one of {', '.join(known)}")
    if wanted == "abtem" and out.suffix != ".py":
        raise BadInputError(f"{out}: abTEM's input is a Python script; end its name in .py")
    field = family.field_angstrom
    pixels = field / pixel_size
    if wanted == "labels" and (abs(pixels - round(pixels)) > 1e-6 or not 8 <= round(pixels) <= 8192):
        remedy = f"choose one that makes a whole number from 8 to 8192, such as {field / max(8, round(pixels)):.6g}"
        raise BadInputError(
            f"--pixel-size {pixel_size:g}: makes {pixels:.6g} pixels of the field of {field:g} Å; {remedy}"
        )
    specimen = draw_specimen(family, index)
    if wanted == "labels":
        files = [exchange.export_labels(specimen, round(pixels), out)]
    else:
        files = exchange.export(specimen, family, index, out, wanted)
    names = [str(f) for f in files]
    print_answer({"files": names, "format": wanted, "atoms": len(specimen.atoms)}, as_json, "\n".join(names))


@specimen_app.command("import")
def import_(
    files: Annotated[list[Path], Argument(metavar="FILE", help="Structures, a scene each; the beam runs along +z.")],
    form: Annotated[
        str, Option("--format", help="The files' format, by its name in ASE, such as extxyz, xyz, vasp, prismatic.")
    ],
    out: Annotated[Path, Option(help="The recipe to write, YAML.")],
    support: Annotated[str, Option(help="Elements of the film; other atoms are particles.")] = "C",
    field: Annotated[
        float | None, Option(min=1.0, help="Side of the square field [Å]; the cell's if left out.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of thermal displacements and noise.")] = 1,
    as_json: Json = False,
) -> None:
    """Make a recipe of scenes from other programs' structures; every verb that takes a recipe accepts it.

    Example:  passband specimen import scene_*.xyz --format extxyz --out my_scenes.yaml
    """
    from passband.files import yaml_config
    from passband.files.atomic import require_replaceable, write_text
    from passband.specimens import exchange

    elements = [e.capitalize() for e in support.replace(",", " ").split() if e.lower() != "none"]
    if out.suffix not in (".yaml", ".yml"):
        raise BadInputError(f"--out {out}: a recipe is YAML; end its name in .yaml")
    require_replaceable(out)
    family, facts = exchange.import_scenes(files, form, elements, field, seed)
    write_text(out, f"# {len(facts)} scenes, imported by: passband specimen import\n{yaml_config.dump(family)}")
    line = (
        "{file}: {atoms} atoms, {film_atoms} of the film, {particles} particles, closest {smallest_distance_angstrom} Å"
    )
    warn([f"{fact['file']}: {doubt}" for fact in facts for doubt in fact["warnings"]])
    lines = [line.format_map(fact) for fact in facts]
    answer = {"recipe": str(out), "field_angstrom": family.field_angstrom, "scenes": facts}
    print_answer(answer, as_json, "\n".join([*lines, f"Recipe: {out}"]))


def read_recipe(path: Path, seed: int | None) -> Any:
    """Return a recipe, of another seed if one is given."""
    from passband.specimens.recipe_files import load_recipe

    family = load_recipe(path)
    return family if seed is None else family.model_copy(update={"seed": seed})


def _read_conditions(paths: list[Path] | None) -> list[tuple[str, Any]]:
    from passband.report.specimen_views import DEFAULT_CONDITIONS

    if not paths:
        return DEFAULT_CONDITIONS
    return [(path.stem if path.suffix else path.name, read_condition(path)) for path in paths]
