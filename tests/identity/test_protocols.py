"""The generated gRPC code is what the .proto files say."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts/protocols", tmp_path], check=True)
    made = sorted((tmp_path / "hauberk/identity/protocol").iterdir())
    assert len(made) == 9
    for path in made:
        assert path.read_text() == (ROOT / "src/hauberk/identity/protocol" / path.name).read_text(), path.name
