"""A full disk: writes are refused with the reason, reads go on, and with room again all is well."""

import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.root
def test_a_full_disk_is_said_and_got_over(hauberkd: Any) -> None:
    state: Path = hauberkd.state
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(state)], check=True)
    try:
        hauberkd.start()
        hauberkd.kubectl("create", "configmap", "before")
        ballast = state / "ballast"
        with ballast.open("wb") as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 65536)
                file.flush()
        large = "x" * 20_000
        said = hauberkd.kubectl("create", "configmap", "full", f"--from-literal=a={large}", check=False)
        assert "full" in said.lower()
        assert "before" in hauberkd.kubectl("get", "configmaps")
        ballast.unlink()
        hauberkd.kubectl("create", "configmap", "after", f"--from-literal=a={large}")
        assert hauberkd.process.poll() is None
        assert hauberkd.end() == 0
    finally:
        if hauberkd.process and hauberkd.process.poll() is None:
            hauberkd.process.kill()
            hauberkd.process.wait()
        subprocess.run(["umount", "-l", str(state)], check=True)
