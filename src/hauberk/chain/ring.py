"""The rings of the chain, from the source to the call, and what is known of each for one call."""

from dataclasses import dataclass, field
from enum import StrEnum


class Ring(StrEnum):
    """The rings, outermost first: each points at the one before it."""

    SOURCE = "source"
    BUILD = "build"
    RELEASE = "release"
    BOOT = "boot"
    SANDBOX = "sandbox"
    ENCLAVE = "enclave"
    IDENTITY = "identity"
    POLICY = "policy"
    CALL = "call"


class State(StrEnum):
    """What is known of a ring. Absent is never taken for verified."""

    VERIFIED = "verified"
    """Checked here and now against given roots."""
    RECORDED = "recorded"
    """Stated by a proxy or the node, not checked by a signature."""
    FAILED = "failed"
    """Checked, and wrong."""
    ABSENT = "absent"
    """Nobody stated it."""


@dataclass(frozen=True, slots=True)
class Link:
    """One ring of one call's chain, for one side of it."""

    ring: Ring
    state: State
    line: str
    """One line for people: the field and, where it failed, both values."""
    facts: dict[str, str] = field(default_factory=dict)
