"""A container's log as the driver writes it (CRI format: `TIME STREAM P|F TEXT`), read and followed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

BLOCK = 65_536
POLL_SECONDS = 0.05


def text(line: bytes, timestamps: bool) -> bytes:
    """What the program wrote, of one line of the file; a part of a line (`P`) has no end of line."""
    time, _, rest = line.partition(b" ")
    _stream, _, rest = rest.partition(b" ")
    tag, _, content = rest.partition(b" ")
    return (time + b" " if timestamps else b"") + content + (b"" if tag == b"P" else b"\n")


def tail_offset(file: Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin."""
    with file.open("rb") as opened:
        position = opened.seek(0, 2)
        if lines <= 0:
            return position
        wanted, found = lines + 1, 0
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            opened.seek(position)
            block = opened.read(size)
            for index in range(size - 1, -1, -1):
                found += block[index] == 0x0A
                if found == wanted:
                    return position + index + 1
    return 0


async def read(
    file: Path,
    *,
    ended: Callable[[], bool],
    follow: bool = False,
    tail: int | None = None,
    timestamps: bool = False,
) -> AsyncIterator[bytes]:
    """The log from its beginning, or its last `tail` lines; with `follow` until the container has ended."""
    async for some in _blocks(file, ended=ended, follow=follow, tail=tail):
        yield b"".join(text(line, timestamps) for line in some)


async def lines(
    file: Path, *, ended: Callable[[], bool], follow: bool = False, tail: int | None = None
) -> AsyncIterator[bytes]:
    """The same line by line, as they stand in the file."""
    async for some in _blocks(file, ended=ended, follow=follow, tail=tail):
        for line in some:
            yield line


async def _blocks(
    file: Path, *, ended: Callable[[], bool], follow: bool, tail: int | None
) -> AsyncIterator[list[bytes]]:
    position = _Position(file, tail)
    while True:
        # Asked before reading: what a container wrote before its end is in the file by then.
        last = not follow or ended()
        while some := position.next():
            yield some
        if last:
            return
        await asyncio.sleep(POLL_SECONDS)


class _Position:
    """How far a log has been read."""

    def __init__(self, file: Path, tail: int | None) -> None:
        self._file = file
        self._inode = 0
        self._offset = tail_offset(file, tail) if tail is not None and file.exists() else 0

    def next(self) -> list[bytes]:
        """Whole lines that are new, some at a time."""
        try:
            found = self._file.stat().st_ino
        except FileNotFoundError:
            return []
        if self._inode not in {0, found}:
            self._offset = 0  # the driver began a new file
        self._inode = found
        with self._file.open("rb") as opened:
            opened.seek(self._offset)
            data = opened.read(BLOCK)
            while data and b"\n" not in data and (more := opened.read(BLOCK)):
                data += more
        end = data.rfind(b"\n") + 1
        self._offset += end
        return data[:end].splitlines()
