"""RateLimit: the same limits at a real Envoy and at our own proxy, and leased shares of global ones at ours."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.objects import configuration
from mesh_testing.rate_limit_service import RateLimitService
from mesh_testing.running import StartProxy

ROUTES = virtual_service({"route": [to("v1")]})


def rate_limit(*rules: dict[str, Any], name: str = "edge", **spec: Any) -> dict[str, Any]:
    told = {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "rules": list(rules), **spec}
    return configuration("RateLimit", name, told)


def hourly(requests: int, **more: Any) -> dict[str, Any]:
    return {"requests": requests, "per": "1h", **more}


async def statuses(
    edge: Front, count: int, path: str = "/", method: str = "GET", **headers: str
) -> list[int]:
    return [(await edge.get(path, method, **headers))[0] for _ in range(count)]


async def test_a_bucket_empties_and_says_so(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [ROUTES, rate_limit({"name": "all", "local": hourly(3)})]
    async with front(start_proxy, objects, tmp_path) as edge:
        found = [await edge.get() for _ in range(4)]
        assert [status for status, _, _ in found] == [200, 200, 200, 429]
        assert [headers["x-ratelimit-limit"] for _, _, headers in found] == ["3"] * 4
        assert [headers["x-ratelimit-remaining"] for _, _, headers in found] == ["2", "1", "0", "0"]
        assert all(int(headers["x-ratelimit-reset"]) >= 0 for _, _, headers in found)
        await eventually(lambda: len(edge.running.accesses()) >= 4)
        assert [one["response_flags"] for one in edge.running.accesses()] == ["-", "-", "-", "RL"]
        assert edge.answered.total() == 3


async def test_a_bucket_fills_again(start_proxy: StartProxy, tmp_path: Path) -> None:
    limit = {"requests": 20, "per": "1s", "burst": 2}
    objects = [ROUTES, rate_limit({"name": "all", "local": limit})]
    async with front(start_proxy, objects, tmp_path) as edge:
        began = time.monotonic()
        passed = 0
        while time.monotonic() - began < 1.5:
            passed += (await edge.get())[0] == 200
        elapsed = time.monotonic() - began
        assert 0.6 * 20 * elapsed <= passed <= 2 + 20 * elapsed + 20, passed


async def test_limits_hold_for_what_they_match_and_what_is_told_apart_is_counted_apart(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    objects = [
        ROUTES,
        rate_limit(
            {
                "name": "pay",
                "match": {"paths": ["/pay*", "/buy"], "methods": ["POST"]},
                "by": [{"header": "X-User"}],
                "local": hourly(2),
            },
            {"name": "host", "match": {"hosts": ["other.example"]}, "local": hourly(1)},
        ),
    ]
    async with front(start_proxy, objects, tmp_path) as edge:
        assert await statuses(edge, 4, "/pay/1?a=b", "POST", x_user="a") == [200, 200, 429, 429]
        assert await statuses(edge, 3, "/buy?x", "POST", x_user="b") == [200, 200, 429]
        assert await statuses(edge, 3, "/buy", "POST") == [200, 200, 429], "without the header: together"
        assert await statuses(edge, 3, "/buyer", "POST", x_user="a") == [200] * 3
        assert await statuses(edge, 3, "/?/pay", "POST", x_user="a") == [200] * 3
        assert await statuses(edge, 3, "/pay", "GET", x_user="a") == [200] * 3
        assert await statuses(edge, 2, host="OTHER.example") == [404, 429]


async def test_addresses_and_identities_are_told_apart(start_proxy: StartProxy, tmp_path: Path) -> None:
    rules = [
        {"name": "address", "match": {"paths": ["/a"]}, "by": [{"attribute": "address"}], "local": hourly(1)},
        {"name": "caller", "match": {"paths": ["/c"]}, "by": [{"attribute": "caller"}], "local": hourly(1)},
    ]
    async with front(start_proxy, [ROUTES, rate_limit(*rules)], tmp_path) as edge:
        assert await statuses(edge, 2, "/a") == [200, 429]
        assert await statuses(edge, 2, "/c") == [200, 429], "nobody proved anything: they are one"


async def test_a_change_of_something_else_fills_no_bucket(tmp_path: Path) -> None:
    """Workers share a bucket, and it outlives the listener's configuration."""
    objects = [ROUTES, rate_limit({"name": "all", "local": hourly(20)})]

    def start(*arguments: Any, **more: Any) -> Any:
        return hauberk_proxy(*arguments, workers=2, **more)

    async with front(start, objects, tmp_path) as edge:
        found = await asyncio.gather(*(edge.get() for _ in range(40)))
        assert Counter(status for status, _, _ in found) == {200: 20, 429: 20}
        registry = edge.plane.discovery.snapshot.registry
        policy = configuration("AuthorizationPolicy", "shut", {"action": "DENY", "rules": [closed("/shut")]})
        edge.plane.discovery.publish(registry.update([policy]))

        async def shut() -> bool:
            return (await edge.get("/shut"))[0] == 403

        await eventually(shut)
        assert (await edge.get())[0] == 429


def closed(path: str) -> dict[str, Any]:
    return {"to": [{"operation": {"paths": [path]}}]}


def globally(service: RateLimitService, *rules: dict[str, Any], **told: Any) -> list[dict[str, Any]]:
    at = {"service": "limits.default.svc.cluster.local", "port": 8081, **told}
    return [ROUTES, *service.facts(), rate_limit(*rules, service=at)]


async def test_a_global_limit_holds_and_the_service_is_told_descriptors(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    service = RateLimitService(limit=20)
    rule = {"name": "pay", "by": [{"header": "x-user"}], "global": {"domain": "bank"}}
    objects = globally(service, rule, timeout="5s", failureMode="Deny")
    async with service.running(), front(start_proxy, objects, tmp_path) as edge:
        found = []
        while len(found) < 400 and [status for status, _, _ in found[-40:]] != [429] * 40:
            found.append(await edge.get(x_user="anna"))
            await asyncio.sleep(
                0.03
            )  # the pace of the calls: more than a second without one that passes ends them
        passed = Counter(status for status, _, _ in found)
        assert passed[200] + passed[429] == len(found)
        # Ours may let a twentieth pass on trust while a question is under way.
        assert 17 <= passed[200] <= 20 + 20 // 20, passed
        assert found[-1][2]["x-ratelimit-limit"].startswith("20")
        assert found[-1][2]["x-ratelimit-remaining"] == "0"
        assert (await edge.get(x_user="berta"))[0] == 200
        descriptors = {tuple(one) for domain, one, _ in service.asked if domain == "bank"}
        assert (("rule", "pay"), ("x-user", "anna")) in {each for one in descriptors for each in one}
        assert {domain for domain, _, _ in service.asked} == {"bank"}


@pytest.mark.parametrize(("mode", "expected"), [("Allow", 200), ("Deny", 429)])
async def test_without_the_service_the_failure_mode_decides(
    start_proxy: StartProxy, tmp_path: Path, mode: str, expected: int
) -> None:
    service = RateLimitService(limit=1000)
    service.failing = True
    rule = {"name": "all", "global": {"domain": "bank"}}
    objects = globally(service, rule, timeout="0.5s", failureMode=mode)
    async with service.running(), front(start_proxy, objects, tmp_path) as edge:

        async def decided() -> bool:
            status = (await edge.get())[0]
            # Envoy says that the service failed (500) where ours says that nothing may pass (429).
            return status in (expected, 500 if expected == 429 else expected)

        await eventually(decided)
        service.failing = False

        async def served() -> bool:
            return (await edge.get())[0] == 200

        await eventually(served)


async def test_no_call_waits_for_a_slow_service(tmp_path: Path) -> None:
    """Our proxy: it holds a lease, renews it in the background, and asks for many hits at once."""
    service = RateLimitService(limit=100_000)
    rule = {"name": "all", "global": {"domain": "bank"}}
    objects = globally(service, rule, timeout="5s", failureMode="Deny")
    async with service.running(), front(hauberk_proxy, objects, tmp_path) as edge:

        async def warm() -> bool:
            await asyncio.gather(*(edge.get() for _ in range(20)))
            return max((hits for _, _, hits in service.asked), default=0) >= 100

        await eventually(warm)
        service.delay = 0.5
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert (await edge.get())[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.4, slowest
        assert len(service.asked) < len(edge.heard) / 3
