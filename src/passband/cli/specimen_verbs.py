"""The verbs of `passband specimen`: preview, gallery, compare, export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer

from passband.base.errors import BadInputError
from passband.base.terminal import error, print_json
from passband.cli.options import Json

specimen_app = typer.Typer(no_args_is_help=True, help="Draw, compare, export and import specimens.")
RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe of specimens: a YAML file, or a bundled one by name.")
]
Index = Annotated[int, typer.Option("--index", min=0, help="Number of the scene, from 0.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed, instead of the recipe's.")]
Conditions = Annotated[
    list[Path] | None,
    typer.Option(
        "--condition", help="Condition file or preset for the images; up to three. Three usual ones if left out."
    ),
]


@specimen_app.command("preview")
def preview(
    recipe: RecipeFile,
    index: Index = 0,
    seed: Seed = None,
    condition: Conditions = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; runs/preview if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Draw one scene: projection, side view, radial distribution, images, every label, and a page with a 3-D view.

    Example:  passband specimen preview gold_on_carbon --index 3
    """
    family = _recipe(recipe, seed)
    from passband.report import specimen_views

    folder = Path("runs/preview") if out is None else out
    facts = specimen_views.preview(family, index, _conditions(condition), folder, f"{recipe.stem}-{index}")
    if as_json:
        print_json(facts)
    else:
        for row in facts["particles"]:
            print(
                f"{row['particle']}: {row['crystal']} {row['shape']}, {row['diameter [Å]']} Å, {row['atoms']} atoms {row['zone axis']}"
            )
        print(f"{facts['atoms']} atoms\nSheet: {facts['sheet']}\nPage:  {facts['page']}")


@specimen_app.command("gallery")
def gallery(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes of specimens, YAML.")],
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="Scenes of each recipe.")] = 2,
    condition: Conditions = None,
    out: Annotated[Path, typer.Option("--out", help="The page.")] = Path("runs/gallery.html"),
    as_json: Json = False,
) -> None:
    """Draw the first scenes of several recipes on one page: structure, images, labels.

    Example:  passband specimen gallery studies/recipes/*.yaml
    """
    if out.suffix != ".html":
        raise BadInputError(f"--out {out}: a gallery is a page; end its name in .html")
    families = [(path.stem, _recipe(path, None)) for path in recipes]
    from passband.base.progress import TerminalProgress
    from passband.report import specimen_views

    conditions = _conditions(condition)
    with TerminalProgress(error) as progress:
        advance = progress.stage("scenes", count * len(families), 0)
        scenes = specimen_views.gallery(families, count, conditions, out, advance)
    if as_json:
        print_json({"scenes": scenes, "page": str(out)})
    else:
        print(f"{scenes} scenes in {out}")


@specimen_app.command("compare")
def compare(
    first: RecipeFile,
    second: Annotated[Path, typer.Argument(metavar="OTHER", help="Another recipe.")],
    count: Annotated[int, typer.Option("--count", min=2, max=10_000, help="Scenes of each.")] = 30,
    as_json: Json = False,
) -> None:
    """Compare the scenes of two recipes: what each covers, and the distance of their particles' structures (SOAP).

    Example:  passband specimen compare structure/gold structure/gold_lattice_plus_5
    """
    families = [_recipe(path, None) for path in (first, second)]
    import numpy as np

    from passband.base.identity import seed_from
    from passband.base.progress import TerminalProgress
    from passband.specimens import draw_specimen
    from passband.specimens.diversity import coverage, soap_comparison

    sets: list[list[Any]] = []
    with TerminalProgress(error) as progress:
        advance = progress.stage("scenes", 2 * count, 0)
        for family in families:
            sets.append([])
            for i in range(count):
                sets[-1].append(draw_specimen(family, i))
                advance(1.0)
    rng = np.random.default_rng(seed_from("compare", count))
    answer: dict[str, Any] = {
        "first": coverage(sets[0]),
        "second": coverage(sets[1]),
        "soap": soap_comparison(*sets, rng=rng),
        "soap_geometry_only": soap_comparison(*sets, rng=rng, species_blind=True),
    }
    if as_json:
        print_json(answer)
        return
    for name, label in (("first", first), ("second", second)):
        facts = answer[name]
        print(f"{label}: {facts['particles']} particles in {facts['specimens']} scenes")
        print(
            "  crystals      " + ", ".join(f"{c} {s:.0%}" for c, s in (facts["composition"]["crystals"] or {}).items())
        )
        for key, title in (("diameter_angstrom", "diameter"), ("film_thickness_angstrom", "film")):
            if facts[key]:
                print(
                    f"  {title:<13} {facts[key]['mean']:.1f} ± {facts[key]['deviation']:.1f} Å ({facts[key]['least']:.1f} to {facts[key]['greatest']:.1f})"
                )
        if facts["orientation"]:
            print(
                f"  orientations  {facts['orientation']['covered']:.0%} of the sphere, {facts['orientation']['covered_if_uniform']:.0%} if uniform"
            )
    for key, title in (("soap", "with elements"), ("soap_geometry_only", "geometry only")):
        if answer[key]:
            print(f"SOAP distance, {title}: {answer[key]['distance']:.4f} (p = {answer[key]['p']:.3f})")


@specimen_app.command("export")
def export(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file.")],
    index: Index = 0,
    seed: Seed = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="xyz (extended, with the particle of each atom), cif, prismatic, abtem (a script and its xyz) or labels (.npz); by the file's ending if left out.",
        ),
    ] = None,
    pixel: Annotated[float, typer.Option("--pixel", min=0.01, help="Pixel of the labels [Å].")] = 0.4,
    as_json: Json = False,
) -> None:
    """Export one scene to other programs; the same recipe, index and seed always give the same bytes.

    Example:  passband specimen export gold_on_carbon scene.xyz --index 3
    """
    family = _recipe(recipe, seed)
    from passband.specimens import draw_specimen, exchange

    endings = {".xyz": "xyz", ".cif": "cif", ".py": "abtem", ".npz": "labels"}
    wanted = form or ("prismatic" if out.name.endswith(".prismatic.xyz") else endings.get(out.suffix))
    known = [*exchange.EXPORTS, "labels"]
    if wanted not in known:
        raise BadInputError(
            f"{out}: {f'format {form!r} is not known' if form else 'its ending names no format'}; use --format with one of {', '.join(known)}"
        )
    if wanted == "abtem" and out.suffix != ".py":
        raise BadInputError(f"{out}: abTEM's input is a Python script; end its name in .py")
    pixels = family.field_angstrom / pixel
    if wanted == "labels" and (abs(pixels - round(pixels)) > 1e-6 or not 8 <= round(pixels) <= 8192):
        raise BadInputError(
            f"--pixel {pixel:g}: makes {pixels:.6g} pixels of the field of {family.field_angstrom:g} Å; choose one that makes a whole number from 8 to 8192, such as {family.field_angstrom / max(8, round(pixels)):.6g}"
        )
    specimen = draw_specimen(family, index)
    if wanted == "labels":
        files = [exchange.export_labels(specimen, round(pixels), out)]
    else:
        files = exchange.export(specimen, family, index, out, wanted)
    if as_json:
        print_json({"files": [str(f) for f in files], "format": wanted, "atoms": len(specimen.atoms)})
    else:
        print("\n".join(str(f) for f in files))


@specimen_app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Structures, a scene each; the beam runs along +z.")
    ],
    form: Annotated[
        str,
        typer.Option("--format", help="The files' format, by its name in ASE, such as extxyz, xyz, vasp, prismatic."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The recipe to write, YAML.")],
    support: Annotated[str, typer.Option("--support", help="Elements of the film; other atoms are particles.")] = "C",
    field: Annotated[
        float | None, typer.Option("--field", min=1.0, help="Side of the square field [Å]; the cell's if left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of thermal displacements and noise.")] = 1,
    as_json: Json = False,
) -> None:
    """Make a recipe of scenes from other programs' structures; every verb that takes a recipe accepts it.

    Example:  passband specimen import scene_*.xyz --format extxyz --out my_scenes.yaml
    """
    from ase.data import atomic_numbers

    from passband.files import yaml_config
    from passband.files.atomic import write_text
    from passband.specimens import exchange

    elements = [e for e in support.replace(",", " ").split() if e != "none"]
    for element in elements:
        if element not in atomic_numbers or element == "X":
            raise BadInputError(f"--support {element!r}: is not a chemical element; give symbols such as Si,O, or none")
    if out.suffix not in (".yaml", ".yml"):
        raise BadInputError(f"--out {out}: a recipe is YAML; end its name in .yaml")
    family, facts = exchange.import_scenes(files, form, elements, field, seed)
    write_text(out, f"# {len(facts)} scenes, imported by: passband specimen import\n{yaml_config.dump(family)}")
    if as_json:
        print_json({"recipe": str(out), "field_angstrom": family.field_angstrom, "scenes": facts})
    else:
        for fact in facts:
            print(
                f"{fact['file']}: {fact['atoms']} atoms, {fact['film_atoms']} of the film, {fact['particles']} particles, closest {fact['smallest_distance_angstrom']} Å"
            )
        print(f"Recipe: {out}")


def _recipe(path: Path, seed: int | None) -> Any:
    from passband.specimens.recipe_files import load_recipe

    family = load_recipe(path)
    return family if seed is None else family.model_copy(update={"seed": seed})


def _conditions(paths: list[Path] | None) -> list[tuple[str, Any]]:
    from passband.conditions.condition_files import load_condition
    from passband.report.specimen_views import DEFAULT_CONDITIONS

    if not paths:
        return DEFAULT_CONDITIONS
    return [(path.stem if path.suffix else path.name, load_condition(path)) for path in paths]
