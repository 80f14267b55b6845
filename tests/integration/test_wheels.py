"""The two wheels as `make wheels` builds them, in a virtual environment that has nothing else."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(*command: str | Path, **told: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **told)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.mark.timeout(1200)
def test_two_wheels_give_the_same_command(tmp_path: Path) -> None:
    run("make", "wheels", "DIST=" + str(tmp_path / "dist"), cwd=ROOT)
    wheels = sorted((tmp_path / "dist").glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["hauberk", "hauberk_dataplane"]
    assert wheels[0].name.endswith("-py3-none-any.whl")

    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", environment)
    run(SCRIPTS / "uv", "pip", "install", "--python", environment / "bin" / "python", *wheels)

    assert "tap" in run(environment / "bin" / "hauberk", "--help")
    for program in ("hauberk-proxy", "hauberk-sandbox"):
        assert run(environment / "bin" / program, "--version").startswith(program)
    found = run(
        environment / "bin" / "python", "-c",
        "from hauberk.binaries import find; print(find('hauberk-proxy'), find('hauberk-sandbox'))",
        cwd=tmp_path,
    )  # fmt: skip
    assert all(Path(path).is_relative_to(environment) for path in found.split())
