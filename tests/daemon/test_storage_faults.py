"""Storage that fails: writes are refused with the reason, reads go on, and with room again all is well."""

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.store.postgres_server import postgres


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


@pytest.mark.root
async def test_on_postgresql_a_stopped_database_is_said_and_got_over(hauberkd: Any) -> None:
    with postgres() as url:
        hauberkd.extra = ["--database", url]
        hauberkd.start()
        async with hauberkd.node():
            arguments = ("create", "configmap", "before")
            hauberkd.kubectl(*arguments)
            hauberkd.end(signal.SIGKILL)
            hauberkd.start()
            assert "before" in hauberkd.kubectl("get", "configmaps")
    # The database is gone for good now: what is in memory is read, nothing is written, nothing crashes.
    said = await asyncio.to_thread(hauberkd.kubectl, "create", "configmap", "after", check=False)
    assert "nothing was changed" in said
    assert "before" in hauberkd.kubectl("get", "configmaps")
    assert hauberkd.end() == 0
