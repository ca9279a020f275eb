"""Recipes and studies that come with passband, by name."""

from pathlib import Path

# The wheel carries the repository's folder `studies` here; an editable install reads it where it lies.
_INSTALLED = Path(__file__).parent / "examples"
_SOURCE = Path(__file__).parents[3] / "studies"


def folder() -> Path:
    """Return the folder of the bundled recipes and studies."""
    return _INSTALLED if _INSTALLED.is_dir() else _SOURCE


def recipes() -> dict[str, Path]:
    """Return the bundled recipes of specimens: name → file."""
    return _named(folder() / "recipes", "**/*.yaml")


def studies() -> dict[str, Path]:
    """Return the bundled studies: name → file."""
    return _named(folder(), "*.yaml")


def find(source: str | Path, bundled: dict[str, Path]) -> Path:
    """Return the file of a path or, where nothing lies there, of a bundled name in upper or lower case."""
    path = Path(source)
    return path if path.exists() else bundled.get(_plain(str(source).lower()), path)


def _named(place: Path, pattern: str) -> dict[str, Path]:
    return {_plain(str(file.relative_to(place).with_suffix(""))): file for file in sorted(place.glob(pattern))}


def _plain(name: str) -> str:
    # Words, not symbols: gold_on_carbon is in au_on_carbon.yaml.
    return f"gold_{name[3:]}" if name.startswith("au_") else name
