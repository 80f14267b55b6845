"""The work queue: order, one at a time for a key, and bounded back-off."""

import asyncio

from hauberk.workloads.queue import LONGEST_BACKOFF, WorkQueue

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
