"""Istio's string match (`exact`, `prefix*`, `*suffix`, `*`) as a regular expression in RE2 syntax."""

from __future__ import annotations

from collections.abc import Iterable


def quoted(text: str) -> str:
    """A literal."""
    return "".join(
        f"\\{char}" if char.isascii() and not char.isalnum() and char not in "-_/" else char for char in text
    )


def wild(value: str, anything: str) -> str:
    """One match; `anything` is what a `*` stands for."""
    if value == "*":
        return anything
    if value.startswith("*"):
        return anything + quoted(value[1:])
    if value.endswith("*"):
        return quoted(value[:-1]) + anything
    return quoted(value)


def any_of(values: Iterable[str]) -> str:
    """Any of several matches, without a query's question mark in what a `*` stands for."""
    return f"(?:{'|'.join(wild(value, '[^?]*') for value in values)})"
