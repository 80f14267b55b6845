"""Limits and outlier detection count all workers of a proxy together, in a real Envoy and in our proxy."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mesh_testing.backends import Front, destination_rule, front, to, virtual_service
from mesh_testing.running import StartProxy

ONCE = {"retries": {"attempts": 0}, "route": [{"destination": {"host": "reviews"}}]}


@pytest.fixture
def start_two_workers(start_proxy: StartProxy) -> StartProxy:
    return partial(start_proxy, workers=2)


async def on_new_connections(gateway: Front, count: int, **headers: str) -> Counter[int]:
    """Statuses of requests one after the other, each on a connection of its own, which some worker takes."""
    found = [(await gateway.get(connection="close", **headers))[0] for _ in range(count)]
    return Counter(found)


async def test_the_limit_of_requests(start_two_workers: StartProxy, tmp_path: Path) -> None:
    objects = [
        destination_rule(connectionPool={"http": {"http2MaxRequests": 5}}),
        virtual_service({"retries": {"attempts": 0}, "route": [to("v1")]}),
    ]
    async with front(start_two_workers, objects, tmp_path) as gateway:
        answers = await gateway.many(40, sleep="1")
        assert Counter(status for status, _, _ in answers) == {200: 5, 503: 35}
        assert {status for status, _, _ in await gateway.many(5)} == {200}, "every place was given back"


async def test_the_limit_of_retries(start_two_workers: StartProxy, tmp_path: Path) -> None:
    retries = {"attempts": 1, "retryOn": "5xx"}
    objects = [
        destination_rule(connectionPool={"http": {"maxRetries": 2}}),
        virtual_service({"retries": retries, "route": [to("v1")]}),
    ]
    async with front(start_two_workers, objects, tmp_path) as gateway:
        await gateway.many(40, answer="503", sleep="1")
        # All fail at about the same time, and each retry takes as long again.
        assert len(gateway.heard) == 42


@pytest.mark.parametrize(
    ("detection", "failure", "seen"),
    [
        ({"consecutive5xxErrors": 6}, {"broken": "v2"}, 6),
        ({"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 4}, {"broken": "v2"}, 4),
        (
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 3}
            | {"consecutive5xxErrors": 5},
            {"broken": "v2"},
            5,
        ),
    ],
    ids=["errors", "gateway errors", "errors beside local failures"],
)
async def test_a_row_of_failures(
    start_two_workers: StartProxy,
    tmp_path: Path,
    detection: dict[str, Any],
    failure: dict[str, str],
    seen: int,
) -> None:
    """A host is left out after exactly so many failures, whichever workers met them."""
    rule = destination_rule(
        outlierDetection={"maxEjectionPercent": 100, "interval": "1h", "baseEjectionTime": "1h"} | detection,
        loadBalancer={"simple": "ROUND_ROBIN"},
    )
    async with front(start_two_workers, [rule, virtual_service(ONCE)], tmp_path) as gateway:
        statuses = await on_new_connections(gateway, 60, **failure)
        assert statuses == {200: 60 - seen, 503: seen}


async def test_a_row_of_connections_that_fail(start_two_workers: StartProxy, tmp_path: Path) -> None:
    """An endpoint at which nobody listens, where such failures are split from the host's own errors."""
    split = {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 3}
    detection = {"maxEjectionPercent": 100, "interval": "1h", "baseEjectionTime": "1h"} | split
    rule = destination_rule(outlierDetection=detection, loadBalancer={"simple": "ROUND_ROBIN"})
    objects = [rule, virtual_service(ONCE)]
    async with front(start_two_workers, objects, tmp_path, nobody_at=("127.0.0.77",)) as gateway:
        statuses = await on_new_connections(gateway, 40)
        assert statuses == {200: 37, 503: 3}


async def test_no_more_are_ejected_than_may_be(start_two_workers: StartProxy, tmp_path: Path) -> None:
    """Of three hosts a third at most is one; with the tenth that is the default, none."""

    folders = [tmp_path / name for name in ("third", "less", "default")]
    for folder in folders:
        folder.mkdir()

    async def left(folder: Path, **more: Any) -> int:
        detection = {"consecutive5xxErrors": 1, "interval": "1h", "baseEjectionTime": "1h"} | more
        rule = destination_rule(outlierDetection=detection, loadBalancer={"simple": "ROUND_ROBIN"})
        async with front(start_two_workers, [rule, virtual_service(ONCE)], folder) as gateway:
            await on_new_connections(gateway, 12, answer="503")
            gateway.heard.clear()
            await on_new_connections(gateway, 12)
            return len(gateway.answered)

    assert await left(folders[0], maxEjectionPercent=34) == 2
    assert await left(folders[1], maxEjectionPercent=33) == 3
    assert await left(folders[2]) == 3
