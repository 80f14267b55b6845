"""A pod's socket serves processes of that pod's namespace, and nobody else, whatever they say."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.node.conftest import Pair, inside

from hauberk.node import peer_process as peer_process_module
from hauberk.node.peer_process import peer_process
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


@pytest.fixture
async def socket_of_one(pair: Pair, folder: Path) -> AsyncIterator[Path]:
    """The socket of pod one."""
    served = PodSocket(folder / "socket", pair.one.pod, folder / "behind")
    await served.start()
    yield folder / "socket"
    await served.stop()


async def run(namespace: Path, *arguments: str) -> str:
    done = await asyncio.to_thread(inside, namespace, *arguments, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UNKNOWN_OPTION = 0x7FFF


@pytest.mark.parametrize("option", [peer_process_module.SO_PEERPIDFD, UNKNOWN_OPTION])
async def test_only_processes_of_the_pods_namespace_are_served(
    pair: Pair, folder: Path, option: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel without the peer's descriptor too."""
    monkeypatch.setattr(peer_process_module, "SO_PEERPIDFD", option)
    served = PodSocket(folder / "socket", pair.one.pod, folder / "behind")
    await served.start()

    async def ask(namespace: Path) -> str:
        done = await asyncio.to_thread(inside, namespace, sys.executable, "-c", ASK, str(folder / "socket"))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        assert await ask(pair.one.pod) == "answer to question"
        for stranger in (pair.two.pod, pair.one.gate, Path("/proc/self/ns/net")):
            assert await ask(stranger) == ""
    finally:
        await served.stop()


SERVED, REFUSED = "answer to question", ""


async def test_control_groups_make_no_difference(pair: Pair, socket_of_one: Path) -> None:
    """A process that moved to another group before or after it connected is who it was."""
    groups = next((each for each in CONTROL_GROUPS if (each / "cgroup.procs").exists()), None)
    if groups is None:
        pytest.skip("no control groups are mounted here, so that nobody can move between them")
    group = groups / f"hbk-test-{os.getpid()}"
    group.mkdir()
    try:
        move = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
        before = f"{move}\n{ASK}"
        after = ASK.replace("try:", f"{move}\ntry:")
        for program in (before, after):
            ask = (sys.executable, "-c", program, str(socket_of_one))
            assert await run(pair.one.pod, *ask) == SERVED
            assert await run(pair.two.pod, *ask) == REFUSED
    finally:
        group.rmdir()


CONTROL_GROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


async def test_a_child_pid_namespace_is_seen_through(pair: Pair, socket_of_one: Path) -> None:
    ask = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", ASK, str(socket_of_one))
    assert await run(pair.one.pod, *ask) == SERVED
    assert await run(pair.two.pod, *ask) == REFUSED


MADE_BEFORE_IT_LEFT = """
import ctypes, os, sys
left = ASK.replace("s.connect", "leave()\\ns.connect")
def leave():
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.argv[2] == "new":
        assert libc.unshare(0x40000000) == 0
    else:
        assert libc.setns(os.open(sys.argv[2], os.O_RDONLY), 0x40000000) == 0
exec(left)
"""


async def test_where_a_socket_was_made_makes_no_difference(pair: Pair, socket_of_one: Path) -> None:
    """It is the process that counts, at the moment of the answer: one that left the pod is not of the pod."""
    program = f"ASK = {ASK!r}\n{MADE_BEFORE_IT_LEFT}"

    async def ask(begun_in: Path, then: str) -> str:
        return await run(begun_in, sys.executable, "-c", program, str(socket_of_one), then)

    assert await ask(pair.one.pod, "new") == REFUSED
    assert await ask(pair.one.pod, str(pair.two.pod)) == REFUSED
    assert await ask(pair.two.pod, str(pair.one.pod)) == SERVED, "it may enter the pod, so it is of the pod"


PASSES_ITS_END_ON = """
import ctypes, os, socket, sys
mine, its = socket.socketpair()
if os.fork() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(os.open(sys.argv[2], os.O_RDONLY), 0x40000000) == 0
    _, (end,), _, _ = socket.recv_fds(its, 1, 1)
    s = socket.socket(fileno=end)
    try:
        s.sendall(b"question")
        s.shutdown(socket.SHUT_WR)
        print(s.makefile().read(), flush=True)
    except OSError:
        print("", flush=True)
    os._exit(0)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(mine, [b"x"], [s.fileno()])
os.wait()
"""


async def test_an_end_that_was_passed_on_is_its_makers(pair: Pair, socket_of_one: Path) -> None:
    """A stranger's end is refused in a member's hands. A member's end in a stranger's is what the member gave away."""
    program = (sys.executable, "-c", PASSES_ITS_END_ON, str(socket_of_one))
    assert await run(pair.two.pod, *program, str(pair.one.pod)) == REFUSED
    assert await run(pair.one.pod, *program, str(pair.two.pod)) == SERVED


TAKES_AN_ID_OVER = """
import ctypes, os, socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
child = os.fork()
if child == 0:
    s.connect(sys.argv[1])
    os._exit(0)
os.waitpid(child, 0)
# clone3(2) with set_tid: a process in the pod's namespace under the id of the one that connected.
wanted = (ctypes.c_int * 1)(child)
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
libc = ctypes.CDLL(None, use_errno=True)
taken = libc.syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments))
if taken == 0:
    libc.setns(os.open(sys.argv[2], os.O_RDONLY), 0x40000000)
    open(sys.argv[3], "w").close()
    time.sleep(20)
    os._exit(0)
assert taken == child, os.strerror(ctypes.get_errno())
while not os.path.exists(sys.argv[3]):
    time.sleep(0.01)
try:
    s.sendall(b"question")
    s.shutdown(socket.SHUT_WR)
    print(s.makefile().read())
except OSError:
    print("")
os.kill(taken, 9)
os.waitpid(taken, 0)
"""


async def test_an_id_that_was_used_again_is_not_its_first_owner(pair: Pair, folder: Path) -> None:
    """A stranger connects and ends, and before anybody looks a member of the pod has its process id."""
    ask = (sys.executable, "-c", TAKES_AN_ID_OVER, str(folder / "listener"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "listener"))
        listener.listen()
        asking = asyncio.create_task(run(pair.two.pod, *ask, str(pair.one.pod), str(folder / "taken")))
        await eventually((folder / "taken").exists)
        connection, _ = listener.accept()
        with connection, peer_process(connection) as peer:
            assert not peer.lives_in(pair.one.pod)
            assert not peer.lives_in(pair.two.pod)
    assert await asking == REFUSED


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.01)
