"""A pod's socket serves processes of that pod's namespace, and nobody else, whatever they say."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.node.conftest import Pair, inside

from hauberk.node.pod_socket import PodSocket

pytestmark = pytest.mark.root

ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b"question")
    s.shutdown(socket.SHUT_WR)
    print(s.makefile().read())
except OSError:
    print("")
"""


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hbk-") as made:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"answer to " + await reader.read())
            writer.close()

        server = await asyncio.start_unix_server(answer, path=f"{made}/behind")
        yield Path(made)
        server.close()


async def test_only_processes_of_the_pods_namespace_are_served(pair: Pair, folder: Path) -> None:
    socket = PodSocket(folder / "socket", pair.one.pod, folder / "behind")
    await socket.start()

    async def ask(namespace: Path) -> str:
        done = await asyncio.to_thread(inside, namespace, sys.executable, "-c", ASK, str(folder / "socket"))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        assert await ask(pair.one.pod) == "answer to question"
        for stranger in (pair.two.pod, pair.one.gate, Path("/proc/self/ns/net")):
            assert await ask(stranger) == ""
    finally:
        await socket.stop()
