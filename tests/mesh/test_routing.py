"""Routing rules behave as Istio documents, in a real Envoy and in our proxy, in front of real programs."""

from collections import Counter
from pathlib import Path
from time import monotonic

from mesh_testing.backends import free_port, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration
from mesh_testing.running import StartProxy


async def test_matches(start_proxy: StartProxy, tmp_path: Path) -> None:
    def when(version: str, **match: object) -> dict[str, object]:
        return {"match": [match], "route": [to(version)]}

    objects = [
        virtual_service(
            when("v2", headers={"end-user": {"exact": "jason"}}),
            when("v3", uri={"exact": "/exact"}),
            when("v2", uri={"prefix": "/prefix"}),
            when("v3", uri={"regex": "/[0-9]+/x"}),
            when("v2", method={"exact": "DELETE"}),
            when("v3", queryParams={"q": {"exact": "1"}}),
            when("v2", queryParams={"r": {"regex": "a+"}}),
            when("v3", headers={"x": {"prefix": "ab"}}, withoutHeaders={"y": {}}),
            when("v2", uri={"exact": "/CASE"}, ignoreUriCase=True),
            {"route": [to("v1")]},
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:

        async def version(path: str = "/", method: str = "GET", **headers: str) -> str:
            return str((await gateway.get(path, method, **headers))[1]["version"])

        assert await version(end_user="jason") == "v2"
        assert await version(end_user="anna") == "v1"
        assert await version("/exact") == "v3"
        assert await version("/exact/not") == "v1"
        assert await version("/prefix/any") == "v2"
        assert await version("/123/x") == "v3"
        assert await version("/123/xy") == "v1"
        assert await version("/", "DELETE") == "v2"
        assert await version("/?q=1") == "v3"
        assert await version("/?q=2") == "v1"
        assert await version("/?r=aaa") == "v2"
        assert await version("/?r=ab") == "v1"
        assert await version(x="abc") == "v3"
        assert await version(x="abc", y="1") == "v1"
        assert await version("/case") == "v2"


async def test_weights_follow_a_change_without_a_failed_request(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    async with front(
        start_proxy, [virtual_service({"route": [to("v1", 80), to("v2", 20)]})], tmp_path
    ) as gateway:
        counts = Counter([(await gateway.get())[1]["version"] for _ in range(500)])
        assert set(counts) == {"v1", "v2"}
        assert 330 <= counts["v1"] <= 460
        later = gateway.plane.discovery.snapshot.registry.update([virtual_service({"route": [to("v3")]})])
        gateway.plane.discovery.publish(later)

        async def moved() -> bool:
            status, body, _ = await gateway.get()
            assert status == 200
            return bool(body["version"] == "v3")

        await eventually(moved)


async def test_faults_and_timeouts(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [
        virtual_service(
            {
                "match": [{"uri": {"prefix": "/abort"}}],
                "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}},
                "route": [to("v1")],
            },
            {
                "match": [{"uri": {"prefix": "/delay"}}],
                "fault": {"delay": {"fixedDelay": "300ms", "percentage": {"value": 100}}},
                "route": [to("v1")],
            },
            {
                "match": [{"uri": {"prefix": "/half"}}],
                "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}},
                "route": [to("v1")],
            },
            {"route": [to("v1")]},
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        assert (await gateway.get("/abort"))[0] == 555
        assert (await gateway.get("/"))[0] == 200
        began = monotonic()
        assert (await gateway.get("/delay"))[0] == 200
        # Envoy's timers count whole milliseconds of a cached clock: 300 ms may end a little early.
        assert monotonic() - began >= 0.25
        statuses = Counter([(await gateway.get("/half"))[0] for _ in range(200)])
        assert 60 <= statuses[503] <= 140


async def test_rewrites_redirects_and_answers(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [
        virtual_service(
            {
                "match": [{"uri": {"prefix": "/old"}}],
                "rewrite": {"uri": "/new", "authority": "other.example"},
                "route": [to("v1")],
            },
            {"match": [{"uri": {"prefix": "/strip"}}], "rewrite": {"uri": "/"}, "route": [to("v1")]},
            {
                "match": [{"uri": {"regex": "/re/.*"}}],
                "rewrite": {"uriRegexRewrite": {"match": "^/re/([a-z]+)", "rewrite": "/\\1/re"}},
                "route": [to("v1")],
            },
            {
                "match": [{"uri": {"exact": "/gone"}}],
                "redirect": {"uri": "/there", "authority": "there.example", "redirectCode": 302},
            },
            {
                "match": [{"uri": {"exact": "/teapot"}}],
                "directResponse": {"status": 418, "body": {"string": "short and stout"}},
            },
            {
                "match": [{"uri": {"prefix": "/headers"}}],
                "headers": {
                    "request": {"set": {"x-set": "1"}, "add": {"x-add": "2"}, "remove": ["x-gone"]},
                    "response": {"set": {"x-answer": "3"}},
                },
                "route": [to("v1")],
            },
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        _, body, _ = await gateway.get("/old/path?q=1")
        assert (body["path"], body["headers"]["host"]) == ("/new/path?q=1", "other.example")
        assert (await gateway.get("/strip/me"))[1]["path"] == "/me"
        assert (await gateway.get("/re/abc"))[1]["path"] == "/abc/re"
        status, _, headers = await gateway.get("/gone")
        assert (status, headers["location"]) == (302, "http://there.example/there")
        status, body, _ = await gateway.get("/teapot")
        assert (status, body["text"]) == (418, "short and stout")
        _, body, headers = await gateway.get("/headers", x_gone="1")
        assert body["headers"]["x-set"] == "1"
        assert body["headers"]["x-add"] == "2"
        assert "x-gone" not in body["headers"]
        assert headers["x-answer"] == "3"
        assert (await gateway.get("/nowhere"))[0] == 404


async def test_retries_and_cors_and_mirror(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [
        virtual_service(
            {
                "match": [{"uri": {"prefix": "/retry"}}],
                "retries": {"attempts": 3, "retryOn": "503", "perTryTimeout": "2s", "backoff": "25ms"},
                "route": [to("v1")],
            },
            {
                "match": [{"uri": {"prefix": "/never"}}],
                "retries": {"attempts": 0},
                "route": [to("v1")],
            },
            {
                "match": [{"uri": {"prefix": "/cors"}}],
                "corsPolicy": {
                    "allowOrigins": [{"exact": "https://shop.example"}],
                    "allowMethods": ["GET"],
                    "maxAge": "24h",
                },
                "mirror": {"host": "reviews", "subset": "v3"},
                "route": [to("v1")],
            },
        )
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        status, body, _ = await gateway.get("/retry", answer="503")
        assert (status, body["headers"]["x-envoy-attempt-count"]) == (503, "4")
        _, body, _ = await gateway.get("/never", answer="503")
        assert body["headers"]["x-envoy-attempt-count"] == "1"
        status, _, headers = await gateway.get(
            "/cors", "OPTIONS", origin="https://shop.example", access_control_request_method="GET"
        )
        assert (status, headers["access-control-allow-methods"]) == (200, "GET")
        await gateway.get("/cors")
        await eventually(lambda: gateway.answered["v3"] == 1)


async def test_a_gateway_sends_plain_callers_to_tls(start_proxy: StartProxy, tmp_path: Path) -> None:
    port = free_port()
    server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    secure = {"selector": {"istio": "ingressgateway"}, "servers": [server | {"tls": {"httpsRedirect": True}}]}
    objects = [
        configuration("Gateway", "secure", secure),
        virtual_service({"route": [to("v1")]}, gateways=["gateway", "secure"]),
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        assert (await gateway.get())[0] == 200
        gateway.port = port
        status, _, headers = await gateway.get("/shop?q=1")
        assert (status, headers.get("location")) == (301, "https://reviews.example/shop?q=1")


async def test_header_values_are_filled_in(start_proxy: StartProxy, tmp_path: Path) -> None:
    added = {"x-from": "<%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%> 100%%"}
    headers = {"request": {"set": added}, "response": {"set": added}}
    objects = [virtual_service({"headers": headers, "route": [to("v1")]})]
    async with front(start_proxy, objects, tmp_path) as gateway:
        _, body, answered = await gateway.get()
        assert body["headers"]["x-from"] == answered["x-from"] == "<127.0.0.1> 100%"
