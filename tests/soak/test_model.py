"""The judge of the soak: what it must let pass, and what it must not."""

import pytest
from tests.soak.model import NO_ANSWER, PROGRAM_FAILED, Action, Call, fault

KILL = Action("kill", 100.0, 103.0, cuts=True)
ROLL = Action("roll", 100.0, 110.0)
DENY = Action("deny", 100.0, 102.0, forbids="fast", lifted=120.0, relieved=122.0)


def call(kind: str, status: int, began: float = 101.0, seconds: float = 0.1, verdict: str = "ok") -> Call:
    return Call(began, seconds, kind, status, verdict)


@pytest.mark.parametrize(
    ("one", "actions", "legal"),
    [
        (call("fast", 200), [], True),
        (call("fast", 503), [], False),
        (call("fast", 503), [ROLL], False),
        (call("fast", 503), [KILL], True),
        (call("fast", NO_ANSWER, 99.95), [KILL], True),
        (call("fast", NO_ANSWER, 104), [KILL], False),
        (call("fast", 200, verdict="wrong: another's"), [KILL], False),
        (call("fast", 200, seconds=13), [KILL], False),
        (call("fast", PROGRAM_FAILED), [], False),
        (call("failing", PROGRAM_FAILED), [], True),
        (call("failing", 503), [], False),
        (call("hang", 504), [], True),
        (call("hang", 200), [], False),
        (call("stranger", 403), [], True),
        (call("stranger", 200), [KILL], False),
        (call("stranger", NO_ANSWER), [KILL], True),
        (call("fast", 200, 101), [DENY], True),
        (call("fast", 403, 101), [DENY], True),
        (call("fast", 200, 110), [DENY], False),
        (call("fast", 403, 110), [DENY], True),
        (call("fast", 403, 121), [DENY], True),
        (call("fast", 403, 130), [DENY], False),
        (call("slow", 403, 110), [DENY], False),
    ],
)
def test_what_is_legal(one: Call, actions: list[Action], legal: bool) -> None:
    assert (fault(one, actions) == "") is legal, fault(one, actions)
