"""Which answers are legal, given what was done to the mesh meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NO_ANSWER = 0
PROGRAM_FAILED = -503
"""503 that the program said itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it. Times in seconds since 1970."""

    began: float
    seconds: float
    kind: str
    status: int
    verdict: str
    """`ok`, `wrong: …` for an answer that is another call's or damaged, else what broke."""

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was done to the mesh, and until when its effects may be felt."""

    name: str
    began: float
    settled: float
    cuts: bool = False
    """A process that carries calls was killed: calls of that time may get no answer, or 503."""
    forbids: str = ""
    """A kind of call that a policy refuses from `settled` until `lifted`, and may refuse until `relieved`."""
    lifted: float = 0.0
    relieved: float = 0.0


REFUSED = "stranger"
"""Kind of the calls that no policy ever allows."""

_ALWAYS = {
    "hang": frozenset({504}),
    "failing": frozenset({PROGRAM_FAILED}),
    "broken": frozenset({NO_ANSWER, 502, 503}),
    REFUSED: frozenset({403}),
}
_SERVED = frozenset({200})
_CUT = frozenset({NO_ANSWER, 502, 503, 504})
LONGEST = 12.0
"""Seconds: beyond it nobody waits, whatever happens."""


def fault(call: Call, actions: Sequence[Action]) -> str:
    """What is wrong with a call's end; empty for nothing."""
    if call.verdict.startswith("wrong"):
        return call.verdict
    if call.seconds > LONGEST:
        return f"took {call.seconds:.1f} s"
    legal = set(_ALWAYS.get(call.kind, _SERVED))
    for action in actions:
        if action.forbids == call.kind:
            if call.began > action.settled and call.ended < action.lifted:
                legal = {403}
            elif _meets(call, action.began, action.relieved):
                legal |= {403}
    if any(action.cuts and _meets(call, action.began, action.settled) for action in actions):
        legal |= _CUT
    return (
        "" if call.status in legal else f"status {call.status}, expected of {sorted(legal)}; {call.verdict}"
    )


def _meets(call: Call, began: float, ended: float) -> bool:
    return call.began < ended and call.ended > began
