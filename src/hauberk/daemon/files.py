"""Files that others read while we write them: whole or not at all, private from the first byte."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `path` in one step, on disk when this returns.

    Raises:
        OSError: it could not be written; the old content, if any, is untouched.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> Path:
    """Make a folder, and those above it, that only its owner may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
