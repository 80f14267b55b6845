"""The committed reference is what the code says."""

from pathlib import Path

import pytest

from hauberk.model import reference

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_current(name: str) -> None:
    assert (FOLDER / name).read_text() == reference.PAGES[name](), "run `make docs` and commit what changed"


def test_pages_are_written(tmp_path: Path) -> None:
    assert reference.main([str(tmp_path / "new")]) == 0
    assert "## Pod" in (tmp_path / "new" / "objects.md").read_text()
