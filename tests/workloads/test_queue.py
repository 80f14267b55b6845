"""The work queue: order, one at a time for a key, and bounded back-off."""

import asyncio
import math

import pytest

from hauberk.workloads.queue import LEAST_WAIT, LONGEST_BACKOFF, WorkQueue

A, B = ("ns", "a"), ("ns", "b")


async def test_a_key_is_worked_on_once_at_a_time() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(A)
    assert await queue.take() == A
    queue.add(A)
    assert len(queue) == 0
    queue.add(B)
    assert await queue.take() == B
    queue.done(A)
    assert await queue.take() == A


async def test_failures_wait_ever_longer_up_to_a_bound() -> None:
    queue = WorkQueue()
    waits = [queue.failed(A) for _ in range(40)]
    assert waits[0] < 0.1
    assert all(wait <= LONGEST_BACKOFF for wait in waits)
    assert waits[-1] >= LONGEST_BACKOFF / 2
    queue.succeeded(A)
    assert queue.failed(A) < 0.1


async def test_the_earlier_of_two_times_counts() -> None:
    queue = WorkQueue()
    queue.add_after(A, 30)
    queue.add_after(A, 0.01)
    queue.add_after(A, 20)
    async with asyncio.timeout(2):
        assert await queue.take() == A


@pytest.mark.parametrize("seconds", [0.0, -1.0, -math.inf])
async def test_nothing_comes_back_at_once_for_ever(seconds: float) -> None:
    queue = WorkQueue()
    queue.add(A)
    began, turns = asyncio.get_running_loop().time(), 4
    for _ in range(turns):
        assert await queue.take() == A
        queue.done(A)
        queue.add_after(A, seconds)
    assert asyncio.get_running_loop().time() - began >= LEAST_WAIT * (turns - 1) * 0.9


async def test_a_time_that_never_comes_is_far_away_and_no_more() -> None:
    queue = WorkQueue()
    for seconds in (math.inf, 1e300):
        queue.add_after(A, seconds)
    queue.add_after(A, 0.0)
    async with asyncio.timeout(2):
        assert await queue.take() == A
