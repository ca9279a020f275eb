"""Configuration of the documentation site; `make docs` builds it into docs/_build/html."""

import os
import sys
from pathlib import Path

# The examples' work is too small to share between threads, which wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
# The package of this checkout is documented, whatever else is installed.
sys.path.insert(0, str(ROOT / "src"))

from passband.base.version import __version__  # noqa: E402

project = "passband"
author = "The passband developers"
copyright = "2026, the passband developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "results/tables/*/figures"]
# Links to headings such as studies.md#training-sets; pages of several levels repeat titles.
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    # Executed while the site is built; the others are listed with their code and run in the tests or by hand.
    "filename_pattern": r"/(a_verdict_on_an_image|from_the_alignment_screen|amorphous_rdf|partial_coherence)\.py$",
    "nested_sections": False,
    "download_all_examples": False,
    "min_reported_time": 3600,
    "show_memory": False,
    "capture_repr": (),
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
}

html_theme = "pydata_sphinx_theme"
html_title = f"passband {release}"
html_show_sourcelink = False
html_static_path: list[str] = []
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def escape_magnitudes(app, what, name, obj, options, lines: list[str]) -> None:
    """Escape |q| in docstrings, which reStructuredText takes for a substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app) -> None:
    """Connect the hook; before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", escape_magnitudes, priority=400)
