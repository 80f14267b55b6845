"""Retries, timeouts, outliers, limits, hashing, mirrors, CORS, upgrades: as Istio documents them, in both proxies."""

import asyncio
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from mesh_testing.backends import Front, destination_rule, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.running import StartProxy

ANY = {"destination": {"host": "reviews"}}


def retried(prefix: str, **retries: object) -> dict[str, Any]:
    return {"match": [{"uri": {"prefix": prefix}}], "retries": retries, "route": [to("v1")]}


async def test_what_is_retried(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [
        virtual_service(
            retried("/5xx", attempts=3, retryOn="5xx"),
            retried("/gateway", attempts=3, retryOn="gateway-error"),
            retried("/code", attempts=2, retryOn="418,retriable-4xx"),
            retried("/slow", attempts=2, perTryTimeout="200ms", retryOn="5xx"),
            {
                "match": [{"uri": {"prefix": "/whole"}}],
                "timeout": "500ms",
                "retries": {"attempts": 10, "retryOn": "5xx", "perTryTimeout": "200ms"},
                "route": [to("v1")],
            },
            {"match": [{"uri": {"prefix": "/timeout"}}], "timeout": "200ms", "route": [to("v1")]},
            {"route": [to("v1")]},
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:

        async def attempts(path: str, **headers: str) -> tuple[int, int]:
            before = len(gateway.heard)
            status, _, _ = await gateway.get(path, **headers)
            return status, len(gateway.heard) - before

        assert await attempts("/5xx", token="a", failures="2") == (200, 3)
        assert await attempts("/5xx", token="b", failures="9") == (503, 4)
        assert await attempts("/5xx", answer="500", token="c", failures="1") == (500, 4)
        assert await attempts("/5xx", answer="404") == (404, 1)
        assert await attempts("/gateway", answer="500") == (500, 1)
        assert await attempts("/gateway", answer="502") == (502, 4)
        assert await attempts("/code", answer="418") == (418, 3)
        assert await attempts("/code", answer="409") == (409, 3)
        assert await attempts("/code", answer="503") == (503, 1)
        assert await attempts("/default", answer="503") == (503, 1)
        assert await attempts("/slow", sleep="1") == (504, 3)
        status, body, _ = await gateway.get("/timeout", sleep="2")
        assert (status, body["text"]) == (504, "upstream request timeout")
        began = monotonic()
        status, count = await attempts("/whole", sleep="2")
        assert (status, 2 <= count <= 3) == (504, True), "the route's timeout holds for all attempts together"
        assert monotonic() - began < 1.5
        before = len(gateway.heard)
        status, body, _ = await gateway.get("/5xx", "POST", b"payment", token="d", failures="1")
        assert (status, [one.body for one in gateway.heard[before:]]) == (200, [b"payment", b"payment"])


async def test_retries_at_one_time_are_bounded(start_proxy: StartProxy, tmp_path: Path) -> None:
    """`maxRetries`: when all fail, retries do not multiply the load."""
    objects = [
        destination_rule(connectionPool={"http": {"maxRetries": 1}}),
        virtual_service(retried("/", attempts=3, retryOn="5xx")),
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        answers = await gateway.many(20, answer="503", sleep="0.2")
        assert Counter(status for status, _, _ in answers) == {503: 20}
        assert 20 < len(gateway.heard) < 40, "unbounded it would be 80"


async def test_hosts_that_fail_are_left_out_and_come_back(start_proxy: StartProxy, tmp_path: Path) -> None:
    detection = {
        "consecutive5xxErrors": 2,
        "interval": "1s",
        "baseEjectionTime": "1s",
        "maxEjectionPercent": 100,
    }
    objects = [
        destination_rule(outlierDetection=detection, loadBalancer={"simple": "ROUND_ROBIN"}),
        virtual_service({"retries": {"attempts": 0}, "route": [ANY]}),
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        for _ in range(9):
            await gateway.get(broken="v2")
        gateway.heard.clear()
        statuses = {(await gateway.get(broken="v2"))[0] for _ in range(12)}
        assert statuses == {200}
        assert set(gateway.answered) == {"v1", "v3"}

        async def back() -> bool:
            await gateway.get()
            return gateway.answered["v2"] > 0

        await eventually(back)


@pytest.mark.parametrize(
    ("pool", "served"),
    [
        ({"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}, 2),
        ({"tcp": {"maxConnections": 2}, "http": {"http1MaxPendingRequests": 2}}, 4),
        ({"http": {"http2MaxRequests": 3}}, 3),
    ],
    ids=["a connection and a place to wait", "two of each", "requests"],
)
async def test_circuit_breakers(
    start_proxy: StartProxy, tmp_path: Path, pool: dict[str, Any], served: int
) -> None:
    objects = [destination_rule(connectionPool=pool), virtual_service({"route": [to("v1")]})]
    async with front(start_proxy, objects, tmp_path) as gateway:
        # Envoy counts a request as waiting while its connection is being made: with all there, nobody has to.
        connections = pool.get("tcp", {}).get("maxConnections", 1)
        assert {status for status, _, _ in await gateway.many(connections, sleep="0.1")} == {200}
        answers = await gateway.many(6, sleep="0.5")
        assert Counter(status for status, _, _ in answers) == {200: served, 503: 6 - served}
        refused = [(body, headers) for status, body, headers in answers if status == 503]
        assert all("overflow" in body["text"] for body, _ in refused)
        assert all(headers["x-envoy-overloaded"] == "true" for _, headers in refused)
        assert {status for status, _, _ in await gateway.many(served, sleep="0.1")} == {200}, "it recovers"


@pytest.mark.parametrize("table", [{"ringHash": {"minimumRingSize": 1024}}, {"maglev": {}}], ids=str)
async def test_a_key_stays_with_its_host(
    start_proxy: StartProxy, tmp_path: Path, table: dict[str, Any]
) -> None:
    def hashed(**key: object) -> list[dict[str, Any]]:
        rule = destination_rule(loadBalancer={"consistentHash": {**key, **table}})
        return [rule, virtual_service({"route": [ANY]})]

    async def versions(gateway: Front, *headers: dict[str, str], path: str = "/") -> list[set[str]]:
        async def of(one: dict[str, str]) -> set[str]:
            return {(await gateway.get(path, **one))[1]["version"] for _ in range(4)}

        return [await of(one) for one in headers]

    async with front(start_proxy, hashed(httpHeaderName="x-user"), tmp_path) as gateway:
        found = await versions(gateway, *({"x_user": str(user)} for user in range(24)))
        assert {len(one) for one in found} == {1}, "one host for each key"
        assert set.union(*found) == {"v1", "v2", "v3"}, "all hosts for all keys"
        assert (await gateway.get())[0] == 200, "a request without the key goes somewhere"

        def change(*objects: dict[str, Any]) -> None:
            gateway.plane.discovery.publish(gateway.plane.discovery.snapshot.registry.update(objects))

        change(*hashed(useSourceIp=True))
        await eventually(lambda: _one_version(gateway, [{"x_user": str(user)} for user in range(12)]))
        change(*hashed(httpQueryParameterName="user"))

        async def by_query() -> bool:
            found = [await versions(gateway, {}, path=f"/?user={user}") for user in range(16)]
            return all(len(one) == 1 for (one,) in found) and len(set.union(*(one for (one,) in found))) == 3

        await eventually(by_query)
        change(*hashed(httpCookie={"name": "place", "path": "/shop", "ttl": "60s"}))

        async def sets_cookie() -> Any:
            return (await gateway.get())[2].getall("set-cookie", None)

        (cookie,) = await eventually(sets_cookie)
        name, _, rest = cookie.partition("=")
        assert (name, "Max-Age=60" in rest, "Path=/shop" in rest, "HttpOnly" in rest) == (
            "place",
            *[True] * 3,
        )
        sent = cookie.split(";")[0]
        first = await versions(gateway, {"cookie": sent})
        assert first == await versions(gateway, {"cookie": f"other=1; {sent}"})
        assert (await gateway.get(cookie=sent))[2].getall("set-cookie", None) is None
        found = await versions(gateway, *({"cookie": f"place={user}"} for user in range(16)))
        assert {len(one) for one in found} == {1}
        assert set.union(*found) == {"v1", "v2", "v3"}


async def _one_version(gateway: Front, headers: list[dict[str, str]]) -> bool:
    return len({(await gateway.get(**one))[1]["version"] for one in headers}) == 1


async def test_weights_hold(start_proxy: StartProxy, tmp_path: Path) -> None:
    weights = {"v1": 70, "v2": 20, "v3": 10}
    objects = [virtual_service({"route": [to(version, weight) for version, weight in weights.items()]})]
    async with front(start_proxy, objects, tmp_path) as gateway:
        for _ in range(10):
            await gateway.many(60)
        assert sum(gateway.answered.values()) == 600
        for version, weight in weights.items():
            share = gateway.answered[version] / 6
            # Four standard deviations of a binomial of 600.
            assert abs(share - weight) < 4 * (weight * (100 - weight) / 600) ** 0.5, gateway.answered


async def test_copies_go_where_the_mirror_says(start_proxy: StartProxy, tmp_path: Path) -> None:
    mirror = {"mirror": {"host": "reviews", "subset": "v3"}, "route": [to("v1")]}
    objects = [
        virtual_service(
            {"match": [{"uri": {"prefix": "/half"}}], "mirrorPercentage": {"value": 50}, **mirror},
            {"match": [{"uri": {"prefix": "/never"}}], "mirrorPercentage": {"value": 0}, **mirror},
            {"match": [{"uri": {"prefix": "/two"}}], "mirrors": mirrors("v2", "v3"), "route": [to("v1")]},
            mirror,
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        status, body, _ = await gateway.get("/", "POST", b"payment" * 3000)
        assert (status, body["version"]) == (200, "v1"), "the copy's answer is thrown away"
        copy = await eventually(lambda: [one for one in gateway.heard if one.version == "v3"])
        assert [(one.host, one.body) for one in copy] == [("reviews.example-shadow", b"payment" * 3000)]
        gateway.heard.clear()
        began = monotonic()
        assert (await gateway.get("/", broken="v3", sleep="0"))[0] == 200
        assert monotonic() - began < 2
        await gateway.many(60, "/never")
        await asyncio.gather(*(gateway.get("/half") for _ in range(100)))
        await gateway.get("/two")
        await eventually(lambda: gateway.answered["v2"] == 1)
        assert gateway.answered["v1"] == 162
        assert 25 <= gateway.answered["v3"] <= 77


def mirrors(*versions: str) -> list[dict[str, Any]]:
    return [{"destination": {"host": "reviews", "subset": version}} for version in versions]


async def test_answers_to_other_origins(start_proxy: StartProxy, tmp_path: Path) -> None:
    policy = {
        "allowOrigins": [{"exact": "https://shop.example"}, {"regex": r"https://[a-z]+\.dev"}],
        "allowMethods": ["GET", "POST"],
        "allowHeaders": ["x-token"],
        "exposeHeaders": ["x-count"],
        "maxAge": "1h",
        "allowCredentials": True,
    }
    async with front(
        start_proxy, [virtual_service({"corsPolicy": policy, "route": [to("v1")]})], tmp_path
    ) as gateway:

        async def told(method: str, origin: str, **headers: str) -> dict[str, str]:
            status, _, found = await gateway.get("/", method, origin=origin, **headers)
            assert status == 200
            prefix = "access-control-"
            return {
                name.lower().removeprefix(prefix): value
                for name, value in found.items()
                if name.lower().startswith(prefix)
            }

        asks = {"access_control_request_method": "POST"}
        allowed = {"allow-origin": "https://shop.example", "allow-credentials": "true"}
        preflight = {"allow-methods": "GET,POST", "allow-headers": "x-token", "max-age": "3600"}
        exposed = {"expose-headers": "x-count"}
        assert await told("OPTIONS", "https://shop.example", **asks) == allowed | preflight | exposed
        assert len(gateway.heard) == 0, "the proxy answers it"
        assert await told("GET", "https://shop.example") == allowed | exposed
        assert (await told("GET", "https://a.dev"))["allow-origin"] == "https://a.dev"
        assert await told("GET", "https://evil.example") == {}
        assert await told("OPTIONS", "https://evil.example", **asks) == {}
        assert len(gateway.heard) == 4, "a preflight request of another origin is the program's to answer"


async def test_web_sockets(start_proxy: StartProxy, tmp_path: Path) -> None:
    async with front(start_proxy, [virtual_service({"route": [to("v1")]})], tmp_path) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/echo"
        async with gateway.session.ws_connect(url, headers={"host": "reviews.example"}) as socket:
            for text in ("one", "two" * 10_000):
                await socket.send_str(text)
                assert await socket.receive_str(timeout=5) == f"heard {text}"
        assert (await gateway.get())[0] == 200
