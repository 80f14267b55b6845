"""The programs that `make conformance` builds from their Go modules; a test that needs an absent one is skipped."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "build" / "conformance"


def built(name: str) -> Path:
    """The path of a program, or the test is skipped with the reason."""
    found = FOLDER / name
    if not found.exists():
        pytest.skip(f"{name} is not built: `make conformance` builds it from its Go module into {FOLDER}")
    return found


def installed(name: str, package: str) -> Path:
    """The path of a program of the system, or the test is skipped with the reason."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: it is in the Debian package {package}")
    return Path(found)
