"""A private PostgreSQL on a Unix socket, for the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a fresh server's database; the server is gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="hauberk-pg-"))
    user = pwd.getpwnam("postgres")
    os.chown(directory, user.pw_uid, user.pw_gid)
    data = directory / "data"

    def run(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            user="postgres",
            group="postgres",
            extra_groups=[],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    initialising = run(
        str(PROGRAMS / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync"
    )
    assert initialising.wait(60) == 0
    server = run(str(PROGRAMS / "postgres"), "-D", str(data), "-k", str(directory), "-c", "listen_addresses=")
    try:
        deadline = time.monotonic() + 30
        ready = [str(PROGRAMS / "pg_isready"), "-q", "-h", str(directory)]
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)
        yield f"postgresql:///postgres?host={directory}&user=postgres"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody wants the data
        server.wait(30)
        shutil.rmtree(directory)
