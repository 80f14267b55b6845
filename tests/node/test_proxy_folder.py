"""What a captured proxy puts in its folder misleads no one who opens it as root."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hauberk.node import proxy_folder

SECRET = b"root:$6$secret"
PROXY, OTHER = 0x0FFF_F001, 0x0FFF_F002


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A pod's folder as the node makes it; beside it lies what only root may read."""
    if os.geteuid() != 0:
        pytest.skip("users of proxies need root")
    (tmp_path / "secret").write_bytes(SECRET)
    folder = tmp_path / "run"
    folder.mkdir()
    os.chown(folder, -1, PROXY)
    folder.chmod(0o1771)
    return folder


def owned(file: Path, content: bytes, user: int = PROXY) -> None:
    file.write_bytes(content)
    os.chown(file, user, user)


def second_name(file: Path) -> None:
    owned(file.with_name("first"), b"x")
    file.hardlink_to(file.with_name("first"))


def bound(file: Path, user: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(file))
    listening.listen()
    os.chown(file, user, user)
    return listening


TRAPS: dict[str, Callable[[Path], object]] = {
    "link": lambda file: file.symlink_to("../secret"),
    "hard link": lambda file: file.hardlink_to(file.parent.parent / "secret"),
    "second name": second_name,
    "pipe": lambda file: (os.mkfifo(file), os.chown(file, PROXY, PROXY)),
    "folder": lambda file: (file.mkdir(), os.chown(file, PROXY, PROXY)),
    "another user's": lambda file: owned(file, b"x", OTHER),
    "link to a terminal": lambda file: file.symlink_to("/dev/tty"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("access", [os.O_RDONLY, os.O_RDWR])
@pytest.mark.parametrize("trap", list(TRAPS))
def test_what_is_not_the_proxys_own_is_not_opened(run: Path, trap: str, access: int) -> None:
    TRAPS[trap](run / "proxy.log")
    with pytest.raises(OSError), proxy_folder.opened(run / "proxy.log", access):
        pass


def test_its_own_is_read_from_the_end(run: Path) -> None:
    owned(run / "proxy.log", b"one two")
    assert proxy_folder.last(run / "proxy.log", 100) == b"one two"
    assert proxy_folder.last(run / "proxy.log", 3) == b"two"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("trap", [each for each in TRAPS if each != "folder"])
def test_a_log_to_append_to_is_made_anew_in_place_of_a_trap(run: Path, trap: str) -> None:
    TRAPS[trap](run / "proxy.log")
    for part in (b"one ", b"two"):
        descriptor = proxy_folder.open_to_append(run / "proxy.log", PROXY)
        os.write(descriptor, part)
        os.close(descriptor)
    assert proxy_folder.last(run / "proxy.log", 100) == b"one two"
    secret = run.parent / "secret"
    assert secret.read_bytes() == SECRET and secret.stat().st_uid == 0


def test_its_own_socket_is_reached_and_another_pods_is_not(run: Path, tmp_path: Path) -> None:
    file = run / "admin.sock"
    with bound(file, PROXY), proxy_folder.socket_path(file) as path, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    file.unlink()
    with bound(tmp_path / "other.sock", OTHER):
        file.symlink_to("../other.sock")
        with pytest.raises(OSError), proxy_folder.socket_path(file):
            pass
        file.unlink()
        file.hardlink_to(tmp_path / "other.sock")
        with pytest.raises(proxy_folder.NotTheProxysError), proxy_folder.socket_path(file):
            pass
