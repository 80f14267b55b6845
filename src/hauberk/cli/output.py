"""How things are printed: tables, YAML, JSON; colours only on a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

TABLE_WIDTH = 1000
GOOD, BAD, DIM, TITLE = "green", "bold red", "bright_black", "bold"


def console() -> Console:
    """Standard output; plain text, as wide as it needs, where it is no terminal."""
    if sys.stdout.isatty():
        return _Console(highlight=False, emoji=False, markup=False)
    return _Console(
        highlight=False, emoji=False, markup=False, no_color=True, width=TABLE_WIDTH, soft_wrap=True
    )


class _Console(Console):
    """Leaves a reader who has gone to whoever runs the verb."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def progress_console() -> Console:
    """Standard error, for what is happening rather than what was asked for."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def styled(text: str, style: str) -> Text:
    """Text in a style, which only a terminal shows."""
    return Text(text, style=style)


def print_json(value: Any) -> None:
    """JSON as people read it."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: object) -> None:
    """One msgspec value as one line of JSON, at once."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_yaml(value: Any) -> None:
    """One YAML document; block style, keys in the order given."""
    yaml.dump(value, sys.stdout, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True)


class _BlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people write it."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BlockDumper.add_representer(str, _represent_text)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as kubectl prints them: no lines, three spaces between, headers in capitals."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=bool(headers), header_style="")
    for header in headers:
        table.add_column(header, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    out = console()
    # As wide as it needs on a terminal too: a long line is folded there, and nothing of it is lost.
    out.width = TABLE_WIDTH
    with out.capture() as captured:
        out.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


class GrowingTable:
    """A table whose rows come one by one: columns only ever become wider."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def print(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows, headers among them, below those that were printed already."""
        texts = [[_cell(cell) for cell in row] for row in rows]
        for row in texts:
            self._widths += [0] * (len(row) - len(self._widths))
            for column, cell in enumerate(row):
                self._widths[column] = max(self._widths[column], len(cell))
        for row in texts:
            padded = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=False))
            sys.stdout.write("   ".join(padded).rstrip() + "\n")
        sys.stdout.flush()


def _cell(value: Any) -> str:
    return "<none>" if value is None or value == "" else str(value)


def duration(milliseconds: float | None) -> str:
    """A duration with the unit that people would use; `-` where there is none."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f}µs"
    if milliseconds < 1000:
        return f"{milliseconds:.1f}ms"
    return f"{milliseconds / 1000:.2f}s"


def size(count: float) -> str:
    """A number of bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f}{unit}" if unit == "B" else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}TiB"
