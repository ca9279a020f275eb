"""Files that a user names for a result: one that passband did not write is never overwritten."""

from pathlib import Path

from passband.base.errors import BadInputError

# Every result names its program near its beginning or end: in a comment, a title, metadata or the directory of an archive.
_MARK, _REACH = b"passband", 8192


def require_replaceable(path: Path) -> None:
    """Refuse a name that something else than a result of passband already has.

    Args:
        path: where a result is to be written; nothing there is fine.

    Raises:
        BadInputError: naming the file.
    """
    if path.is_dir():
        raise BadInputError("is a folder", value=path, remedy="give the name of a file", place=path)
    if not path.exists():
        return
    with path.open("rb") as file:
        content = file.read(_REACH)
        file.seek(max(file.seek(0, 2) - _REACH, 0))
        content += file.read()
    if _MARK not in content:
        raise BadInputError(
            "exists and was not written by passband",
            value=path,
            remedy="choose another name, or delete it first",
            place=path,
        )
