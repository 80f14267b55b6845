"""The same line over and over is said once a second; what differs is said at once."""

import logging

from hauberk.repeated import OnceASecond


def test_only_the_same_line_within_a_second_is_dropped() -> None:
    moment = 10.0
    filter_ = OnceASecond(lambda: moment)

    def said(text: str) -> bool:
        return filter_.filter(logging.LogRecord("asyncio", logging.ERROR, "", 0, text, None, None))

    assert [said("a"), said("a"), said("b"), said("a")] == [True, False, True, True]
    moment = 10.9
    assert not said("a")
    moment = 11.0
    assert said("a")
