"""Fields of a VirtualService that no other test looks at, in a real Envoy and in our proxy."""

from pathlib import Path
from typing import Any

import pytest
from mesh_testing.backends import front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.running import StartProxy


def when(version: str, **match: Any) -> dict[str, Any]:
    return {"match": [match], "route": [to(version)]}


async def test_matches_on_the_rest(start_proxy: StartProxy, tmp_path: Path) -> None:
    async with front(start_proxy, [virtual_service({"route": [to("v1")]})], tmp_path) as gateway:
        gateway.publish(
            virtual_service(
                when("v3", uri={"exact": "/scheme"}, scheme={"exact": "https"}),
                when("v2", uri={"exact": "/scheme"}, scheme={"exact": "http"}),
                when("v2", uri={"exact": "/authority"}, authority={"prefix": "reviews."}),
                when("v3", uri={"exact": "/elsewhere"}, authority={"exact": "other.example"}),
                when("v2", uri={"exact": "/port"}, port=gateway.port),
                when("v3", uri={"exact": "/other-port"}, port=1),
                when("v2", uri={"exact": "/gateway"}, gateways=["gateway"]),
                when("v3", uri={"exact": "/mesh"}, gateways=["mesh"]),
                when("v2", uri={"exact": "/without"}, withoutHeaders={"x-a": {"regex": "b+"}}),
                when("v2", uri={"exact": "/there"}, headers={"x-a": {}}),
                when("v2", uri={"prefix": "/Any"}, ignoreUriCase=True),
                when("v2", uri={"exact": "/method"}, method={"regex": "P(UT|OST)"}),
                {
                    "name": "two",
                    "match": [{"uri": {"exact": "/one"}}, {"name": "b", "uri": {"exact": "/two"}}],
                    "route": [to("v2")],
                },
                {"route": [to("v1")]},
            )
        )

        async def version(path: str, method: str = "GET", **headers: str) -> str:
            return str((await gateway.get(path, method, **headers))[1]["version"])

        async def changed() -> bool:
            return await version("/scheme") == "v2"

        await eventually(changed)
        for path in ("/authority", "/port", "/gateway", "/without", "/anyTHING", "/one", "/two"):
            assert await version(path) == "v2", path
        for path in ("/elsewhere", "/other-port", "/mesh", "/there", "/method"):
            assert await version(path) == "v1", path
        assert await version("/without", x_a="bb") == "v1"
        assert await version("/without", x_a="c") == "v2"
        assert await version("/there", x_a="") == "v2"
        assert await version("/method", "PUT") == "v2"

        def names() -> set[str]:
            return {str(one["route_name"]) for one in gateway.running.accesses()}

        await eventually(lambda: {"two", "two.b"} <= names())


async def test_redirects(start_proxy: StartProxy, tmp_path: Path) -> None:
    def led(path: str, **redirect: Any) -> dict[str, Any]:
        return {"match": [{"uri": {"prefix": path}}], "redirect": redirect}

    objects = [
        virtual_service(
            led("/scheme", scheme="https"),
            led("/port", port=8443, redirectCode=308),
            led("/derived", authority="a.example", derivePort="FROM_REQUEST_PORT", redirectCode=307),
            led("/prefix/", uri="%PREFIX()%/new/", redirectCode=303),
            led("/replaced/", prefixRewrite="/new/", redirectCode=302),
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:

        async def answer(path: str) -> tuple[int, str]:
            status, _, headers = await gateway.get(path)
            return status, headers["location"]

        assert await answer("/scheme?q=1") == (301, "https://reviews.example/scheme?q=1")
        assert await answer("/port") == (308, "http://reviews.example:8443/port")
        assert await answer("/derived") == (307, f"http://a.example:{gateway.port}/derived")
        assert await answer("/prefix/a?q=1") == (303, "http://reviews.example/new/a?q=1")
        assert await answer("/replaced/a") == (302, "http://reviews.example/new/a")


async def test_headers_of_one_destination(start_proxy: StartProxy, tmp_path: Path) -> None:
    shares = [
        to("v1", 1)
        | {
            "headers": {
                "request": {"set": {"host": "one.example", "x-a": "1"}, "remove": ["x-gone"]},
                "response": {"add": {"x-b": "2"}},
            }
        }
    ]
    around = {"request": {"add": {"x-c": "3"}}, "response": {"remove": ["content-type"]}}
    objects = [virtual_service({"route": shares, "headers": around})]
    async with front(start_proxy, objects, tmp_path) as gateway:
        status, _, headers = await gateway.get(x_gone="1")
        (heard,) = gateway.heard
        assert (status, heard.host, headers["x-b"]) == (200, "one.example", "2")
        assert "json" not in headers.get("content-type", "")


@pytest.mark.parametrize("body", [{"string": "short"}, {"bytes": "c2hvcnQ="}])
async def test_answers_and_faults(start_proxy: StartProxy, tmp_path: Path, body: dict[str, str]) -> None:
    abort = {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}}
    objects = [
        virtual_service(
            {"match": [{"uri": {"exact": "/told"}}], "directResponse": {"status": 418, "body": body}},
            {"match": [{"uri": {"exact": "/grpc"}}], "fault": abort, "route": [to("v1")]},
            {
                "match": [{"uri": {"exact": "/copied"}}],
                "mirror": {"host": "reviews", "subset": "v3"},
                "mirror_percent": 100,
                "route": [to("v1")],
            },
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        status, found, _ = await gateway.get("/told")
        assert (status, found["text"]) == (418, "short")
        status, _, headers = await gateway.get(
            "/grpc", "POST", content_type="application/grpc", te="trailers"
        )
        assert (status, headers["grpc-status"]) == (200, "14")
        await gateway.get("/copied")
        await eventually(lambda: gateway.answered["v3"] == 1)
