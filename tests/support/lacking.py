"""What a machine that only computes lacks: one with a GPU has PyTorch, NumPy and SciPy, and what a session brings along."""

LACKING = (
    *("polars", "pyarrow", "pandas", "matplotlib", "plotly", "rich", "typer", "dask", "distributed", "panel", "bokeh"),
    *("sklearn", "skimage", "monai", "h5py", "tifffile", "rsciio", "PIL", "jinja2", "threadpoolctl"),
)
#: Code that makes the import of one of them an error, wherever it is; to be run before anything is imported.
BLOCKED = f"import sys\nsys.modules.update(dict.fromkeys({LACKING!r}))\n"
