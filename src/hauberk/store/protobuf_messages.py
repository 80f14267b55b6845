"""Which message a kind is in Kubernetes' protobuf encoding, and which field has which number. Pure.

Read once from `protobuf_messages.txt`, whose first lines say what it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    name: str
    """In JSON; empty for a message whose fields stand in place of it."""
    type: str
    """`string`, `bytes`, `int`, … or the name of a message."""
    repeated: bool = False
    mapped: bool = False
    kept: bool = False
    """Whether JSON has it when it is empty, zero or false: it is a pointer in Go, or is always written."""


@dataclass(slots=True)
class Messages:
    """All of them."""

    kinds: dict[tuple[str, str], str] = field(default_factory=dict)
    """The message of `apiVersion` and `kind`."""
    fields: dict[str, Mapping[int, Field]] = field(default_factory=dict)
    """Of each message, by number."""


@cache
def messages() -> Messages:
    """The table."""
    text = files("hauberk.store").joinpath("protobuf_messages.txt").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip("\n")
    kinds, _, rest = lines.partition("\n\n")
    found = Messages()
    for line in kinds.splitlines():
        api_version, _, names = line.partition(" ")
        found.kinds |= {(api_version, name): name for name in names.split(", ")}
    for entry in rest.replace("\n  ", " ").splitlines():
        name, _, listed = entry.partition(": ")
        numbered = (one.split(" ") for one in listed.split(", "))
        found.fields[name] = {int(number): _field(named, type_) for number, named, type_ in numbered}
    return found


def _field(name: str, type_: str) -> Field:
    plain = type_.removeprefix("+")
    return Field(
        name="" if name == "-" else name,
        type=plain.removeprefix("[]").removeprefix("{}"),
        repeated=plain.startswith("[]"),
        mapped=plain.startswith("{}"),
        kept=type_.startswith("+"),
    )
