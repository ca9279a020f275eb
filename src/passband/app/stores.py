"""What the server keeps for its pages: uploaded files, and files to download."""

from dataclasses import dataclass, field
from pathlib import Path

from passband.app.downloads import Downloads
from passband.app.uploads import MOST_BYTES, LabelUploads, SessionUploads, Uploads


@dataclass(frozen=True)
class Stores:
    """Single micrographs, many micrographs, images with masks, and files to download."""

    micrographs: Uploads
    session: SessionUploads
    labels: LabelUploads
    downloads: Downloads = field(default_factory=Downloads)

    @classmethod
    def in_folder(cls, folder: Path, most_bytes: int = MOST_BYTES) -> "Stores":
        """Return empty ones in a folder, for files of at most `most_bytes` bytes."""
        kinds = Uploads(folder, most_bytes), SessionUploads(folder, most_bytes), LabelUploads(folder, most_bytes)
        return cls(*kinds)
