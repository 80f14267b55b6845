"""Logs in CRI format, read from their beginning or end, and followed to theirs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hauberk.node.container_log import read, tail_offset


def write(file: Path, *lines: str) -> None:
    with file.open("a") as opened:
        for line in lines:
            opened.write(f"2026-01-01T00:00:00Z stdout {line}\n")


async def text(file: Path, *, tail: int | None = None, timestamps: bool = False) -> bytes:
    return b"".join(
        [block async for block in read(file, ended=lambda: True, tail=tail, timestamps=timestamps)]
    )


async def test_lines_are_what_the_program_wrote_and_parts_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(file, "F one", "P tw", "F o", "F ")
    assert await text(file) == b"one\ntwo\n\n"
    assert await text(file, tail=1) == b"\n"
    assert await text(file, tail=0) == b""
    assert await text(file, tail=99) == b"one\ntwo\n\n"
    assert (await text(file, timestamps=True)).startswith(b"2026-01-01T00:00:00Z one\n")
    assert await text(tmp_path / "none") == b""


async def test_a_log_is_followed_until_its_container_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "log"
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        write(file, f"F {asked}")
        return asked == 3

    found = b"".join([block async for block in read(file, ended=ended, follow=True)])
    assert found == b"1\n2\n3\n"


@given(st.lists(st.text(alphabet="ab", max_size=5), max_size=20), st.integers(0, 25))
def test_a_tail_begins_so_many_lines_before_the_end(lines: list[str], wanted: int) -> None:
    file = Path("/dev/shm") / f"hbk-{id(lines)}"
    try:
        file.write_text("".join(f"{line}\n" for line in lines))
        with file.open() as opened:
            opened.seek(tail_offset(file, wanted))
            assert opened.read().splitlines() == (lines[-wanted:] if wanted else [])
    finally:
        file.unlink()
