"""Where the files of a stored exit wave lie; nothing is imported that takes time."""

from pathlib import Path


def wave_entry(folder: Path, index: int) -> Path:
    """Return the manifest entry of a specimen of a wave set."""
    return folder / "manifest" / f"{index:06d}.json"


def wave_files(folder: Path, index: int) -> list[str]:
    """Return all files that a stored exit wave depends on: its entry, its chunks, and what describes the arrays."""
    arrays = f"{folder}/waves.zarr"
    chunks = [f"{arrays}/{name}/c/{index}/0/0" for name in ("coefficients", "masks")]
    return [
        str(wave_entry(folder, index)), *chunks, f"{arrays}/zarr.json",
        f"{arrays}/coefficients/zarr.json", f"{arrays}/masks/zarr.json",
    ]  # fmt: skip


def checked_waves(folder: Path) -> Path:
    """Return the file that notes which exit waves of a set were verified."""
    return folder / ".checked.json"
