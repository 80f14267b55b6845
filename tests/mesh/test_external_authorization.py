"""AuthorizationPolicies with the action CUSTOM: the same questions and answers at a real Envoy and at our own proxy."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from mesh_testing.authorizers import GrpcAuthorizer, HttpAuthorizer, allowed, denied, facts
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.objects import configuration, endpoint_slice, service
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import COLLECTOR, IDENTITIES, VIRTUAL, two_hops

POLICY = "ns[default]-policy[ask]-rule[0]"


def ask(*rules: dict[str, Any], provider: str = "asker", name: str = "ask") -> dict[str, Any]:
    """A CUSTOM policy; about `/asked` and what lies below if nothing else is said."""
    spec = {
        "selector": {"matchLabels": {"istio": "ingressgateway"}},
        "action": "CUSTOM",
        "provider": {"name": provider},
        "rules": list(rules) or [{"to": [{"operation": {"paths": ["/asked*"]}}]}],
    }
    return configuration("AuthorizationPolicy", name, spec)


@asynccontextmanager
async def asking(
    start_proxy: StartProxy,
    folder: Path,
    authorizer: GrpcAuthorizer | HttpAuthorizer,
    *objects: dict[str, Any],
    **told: Any,
) -> AsyncIterator[Front]:
    """A gateway whose calls to `/asked…` the authorizer is asked about."""
    given = [*facts(authorizer, **told), virtual_service({"route": [to("v1")]}), *(objects or (ask(),))]
    async with authorizer.running(), front(start_proxy, given, folder) as edge:
        yield edge


async def test_an_authorizer_over_grpc_is_told_the_request_and_asked_about_selected_ones_alone(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    authorizer = GrpcAuthorizer()
    async with asking(start_proxy, tmp_path, authorizer) as edge:
        assert (await edge.get("/free"))[0] == 200
        assert authorizer.asked == []
        assert (await edge.get("/asked/x?y=1", "PUT", b"12345", x_color="red"))[0] == 200
        (asked,) = authorizer.asked
        http = asked.request.http
        assert (http.method, http.path, http.host) == ("PUT", "/asked/x?y=1", "reviews.example")
        assert (http.scheme, http.protocol, http.size, http.body) == ("http", "HTTP/1.1", 0, "")
        assert http.headers["x-color"] == "red"
        assert http.headers[":path"] == "/asked/x?y=1"
        assert http.headers[":authority"] == "reviews.example"
        assert asked.source.address.socket_address.address == "127.0.0.1"
        assert asked.destination.address.socket_address.port_value == edge.port
        assert asked.request.time.seconds > 0
        assert edge.heard[-1].body == b"12345"


async def test_what_an_answer_over_grpc_does(start_proxy: StartProxy, tmp_path: Path) -> None:
    authorizer = GrpcAuthorizer()
    async with asking(start_proxy, tmp_path, authorizer) as edge:

        def header(name: str, value: str, append: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
            return {"header": {"key": name, "value": value}, "append_action": append}

        authorizer.answer = lambda _asked: allowed(
            headers=[header("x-user", "anna"), header("x-color", "blue")],
            headers_to_remove=["x-secret"],
            response_headers_to_add=[header("x-asked", "yes", "APPEND_IF_EXISTS_OR_ADD")],
            query_parameters_to_set=[{"key": "a", "value": "2"}],
            query_parameters_to_remove=["b"],
        )
        status, body, headers = await edge.get("/asked?a=1&b=1", x_color="red", x_secret="s")
        assert (status, body["path"], headers["x-asked"]) == (200, "/asked?a=2", "yes")
        assert (body["headers"]["x-user"], body["headers"]["x-color"]) == ("anna", "blue")
        assert "x-secret" not in body["headers"]

        authorizer.answer = lambda _asked: denied(
            status={"code": 401}, headers=[header("www-authenticate", "Token")], body="who are you?"
        )
        status, body, headers = await edge.get("/asked")
        assert (status, body["text"], headers["www-authenticate"]) == (401, "who are you?", "Token")
        authorizer.answer = lambda _asked: denied()
        assert (await edge.get("/asked"))[:2] == (403, {"text": ""})
        assert edge.answered.total() == 1
        await eventually(lambda: len(edge.running.accesses()) >= 3)
        assert [one["response_flags"] for one in edge.running.accesses()] == ["-", "UAEX", "UAEX"]


async def test_an_answer_cannot_change_what_steers_a_message(start_proxy: StartProxy, tmp_path: Path) -> None:
    authorizer = GrpcAuthorizer()

    def harmful(_asked: Any) -> Any:
        names = [":path", ":method", "host", "connection", "content-length", "transfer-encoding", "upgrade"]
        return allowed(
            headers=[
                {"header": {"key": name, "value": "evil"}, "append": {"value": False}} for name in names
            ],
            headers_to_remove=["host", ":path", ":method"],
        )

    authorizer.answer = harmful
    async with asking(hauberk_proxy, tmp_path, authorizer) as edge:
        status, body, _ = await edge.get("/asked", "POST", b"123")
        assert (status, body["method"], body["path"]) == (200, "POST", "/asked")
        assert edge.heard[-1].host == "reviews.example"
        assert edge.heard[-1].body == b"123"
        assert "evil" not in body["headers"].values()
        line = b"x\r\nset-cookie: evil"
        value = {"header": {"key": "x-user", "raw_value": line}}
        authorizer.answer = lambda _asked: allowed(headers=[value], response_headers_to_add=[value])
        status, body, headers = await edge.get("/asked")
        assert (status, "x-user" in body["headers"]) == (200, False)
        assert "x-user" not in headers
        assert "set-cookie" not in headers


@pytest.mark.parametrize("how", ["away", "late", "error", "nonsense"])
async def test_without_an_answer_a_request_is_refused(
    start_proxy: StartProxy, tmp_path: Path, how: str
) -> None:
    authorizer = GrpcAuthorizer()
    async with asking(start_proxy, tmp_path, authorizer, timeout="0.3s", statusOnError="503") as edge:
        await make_fail(authorizer, how)
        assert (await edge.get("/asked"))[0] == 503
        assert (await edge.get("/free"))[0] == 200
        assert edge.answered.total() == 1


@pytest.mark.parametrize("how", ["late", "error"])
async def test_without_an_answer_a_request_passes_where_a_provider_fails_open(
    start_proxy: StartProxy, tmp_path: Path, how: str
) -> None:
    authorizer = GrpcAuthorizer()
    async with asking(start_proxy, tmp_path, authorizer, timeout="0.3s", failOpen=True) as edge:
        await make_fail(authorizer, how)
        assert (await edge.get("/asked"))[0] == 200


async def make_fail(authorizer: GrpcAuthorizer, how: str) -> None:
    def fail(_asked: Any) -> Any:
        raise grpc.RpcError

    match how:
        case "away":
            await authorizer.stop()
        case "late":
            authorizer.delay = 2
        case "error":
            authorizer.answer = fail
        case "nonsense":
            authorizer.raw = b"\xff\xff"


async def test_a_policy_whose_authorizer_is_not_there_refuses_what_it_matches(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    authorizer = GrpcAuthorizer()
    async with asking(start_proxy, tmp_path, authorizer, ask(provider="nobody")) as edge:
        assert (await edge.get("/asked"))[0] == 403
        assert (await edge.get("/free"))[0] == 200
        assert authorizer.asked == []


async def test_custom_comes_first_and_other_policies_hold_as_well(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    authorizer = GrpcAuthorizer()
    selector = {"selector": {"matchLabels": {"istio": "ingressgateway"}}}
    deny = {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["DELETE"]}}]}], **selector}
    allow = {"rules": [{"to": [{"operation": {"paths": ["/asked/open", "/free"]}}]}], **selector}
    objects = [
        ask(),
        configuration("AuthorizationPolicy", "deny", deny),
        configuration("AuthorizationPolicy", "allow", allow),
    ]
    async with asking(start_proxy, tmp_path, authorizer, *objects) as edge:
        assert (await edge.get("/asked/open"))[0] == 200
        assert (await edge.get("/asked/open", "DELETE"))[0] == 403
        assert (await edge.get("/asked/shut"))[0] == 403
        authorizer.answer = lambda _asked: denied(status={"code": 401})
        assert (await edge.get("/asked/open"))[0] == 401
        assert (await edge.get("/free"))[0] == 200


async def test_what_an_authorizer_sees_of_a_body(start_proxy: StartProxy, tmp_path: Path) -> None:
    authorizer = GrpcAuthorizer()
    body = {"maxRequestBytes": 8, "allowPartialMessage": True}
    async with asking(start_proxy, tmp_path, authorizer, includeRequestBodyInCheck=body) as edge:
        assert (await edge.get("/asked", "POST", b"12345"))[0] == 200
        assert (await edge.get("/asked", "POST", b"1234567890"))[0] == 200
        large = bytes(range(256)) * 4096
        assert (await edge.get("/asked", "POST", large))[0] == 200
        assert [one.body for one in edge.heard] == [b"12345", b"1234567890", large]
        whole, part, _ = [one.request.http for one in authorizer.asked]
        assert (whole.body, whole.headers["x-envoy-auth-partial-body"]) == ("12345", "false")
        assert (part.body, part.headers["x-envoy-auth-partial-body"]) == ("12345678", "true")


async def test_a_body_larger_than_an_authorizer_may_see_is_refused(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    authorizer = GrpcAuthorizer()
    body = {"maxRequestBytes": 8, "packAsBytes": True}
    async with asking(start_proxy, tmp_path, authorizer, includeRequestBodyInCheck=body) as edge:
        assert (await edge.get("/asked", "POST", b"\xff234567"))[0] == 200
        assert authorizer.asked[0].request.http.raw_body == b"\xff234567"
        assert (await edge.get("/asked", "POST", b"123456789"))[0] == 413
        assert len(authorizer.asked) == 1


async def test_an_authorizer_over_http(start_proxy: StartProxy, tmp_path: Path) -> None:
    authorizer = HttpAuthorizer()
    told = {
        "pathPrefix": "/check",
        "includeRequestHeadersInCheck": ["x-color", "x-a-*"],
        "includeAdditionalHeadersInCheck": {"x-from": "mesh"},
        "headersToUpstreamOnAllow": ["x-user"],
        "headersToDownstreamOnDeny": ["x-why"],
        "headersToDownstreamOnAllow": ["x-seen"],
    }
    async with asking(start_proxy, tmp_path, authorizer, **told) as edge:
        given = {"x-user": "anna", "x-other": "no", "x-seen": "yes", "x-why": "because"}
        authorizer.answer = lambda _request: web.Response(headers=given)
        sent = {"x_color": "red", "x_a_b": "1", "x_hidden": "h", "authorization": "Bearer t", "x_from": "me"}
        status, body, headers = await edge.get("/asked/x?y=1", "POST", b"12345", **sent)
        assert (status, body["headers"]["x-user"], headers["x-seen"]) == (200, "anna", "yes")
        assert not {"x-other", "x-why"} & body["headers"].keys()
        assert not {"x-user", "x-why"} & {name.lower() for name in headers}
        ((method, path, seen, asked_body),) = authorizer.asked
        assert (method, path, asked_body) == ("POST", "/check/asked/x?y=1", b"")
        assert (seen["x-color"], seen["x-a-b"], seen["authorization"]) == ("red", "1", "Bearer t")
        assert (seen["host"], seen["x-from"], seen["content-length"]) == ("reviews.example", "mesh", "0")
        assert "x-hidden" not in seen
        assert edge.heard[-1].body == b"12345"

        def to_login(_request: web.Request) -> web.Response:
            return web.Response(status=302, text="log in", headers={"location": "/login", **given})

        authorizer.answer = to_login
        status, body, headers = await edge.get("/asked")
        assert (status, body["text"], headers["location"], headers["x-why"]) == (
            302,
            "log in",
            "/login",
            "because",
        )
        assert "x-other" not in headers
        authorizer.answer = lambda _request: web.Response(status=500)
        assert (await edge.get("/asked"))[0] == 403
        authorizer.answer = lambda _request: web.Response(status=201)
        assert (await edge.get("/asked"))[0] == 201
        assert edge.answered.total() == 1


async def test_many_requests_at_once_are_asked_about_each(start_proxy: StartProxy, tmp_path: Path) -> None:
    authorizer = GrpcAuthorizer()
    authorizer.delay = 0.05

    def by_number(asked: Any) -> Any:
        return allowed() if int(asked.request.http.headers["x-number"]) % 2 else denied()

    authorizer.answer = by_number
    async with asking(start_proxy, tmp_path, authorizer) as edge:
        found = await asyncio.gather(*(edge.get("/asked", x_number=str(number)) for number in range(60)))
        assert [status for status, _, _ in found] == [200 if number % 2 else 403 for number in range(60)]


async def test_records_and_metrics_name_policy_and_authorizer(tmp_path: Path) -> None:
    authorizer = GrpcAuthorizer()
    authorizer.answer = lambda _asked: denied()
    async with asking(hauberk_proxy, tmp_path, authorizer) as edge:
        assert (await edge.get("/asked"))[0] == 403

        def recorded() -> list[dict[str, Any]]:
            lines = (tmp_path / "hauberk-records.log").read_text().splitlines()
            return [one for one in map(json.loads, lines) if one["type"] == "request"]

        await eventually(recorded)
        policy = recorded()[0]["policy"]
        assert (policy["verdict"], policy["policy"], policy["authorizer"]) == ("deny", POLICY, "asker")
        assert policy["reason"] == "refused by the authorizer asker"
        metrics = await edge.running.admin("/stats/prometheus")
        expected = 'hauberk_external_authorizations_total{authorizer="asker",outcome="denied"} 1'
        assert expected in metrics


@pytest.mark.root
async def test_an_authorizer_of_a_sidecar_sees_identities_and_is_asked_about_tcp_connections(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    at = {"service": "asker.default.svc.cluster.local", "port": ASKER_PORT, "timeout": "5s"}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "action": "CUSTOM", "provider": {"name": "asker"}}
    ports = [{"to": [{"operation": {"ports": ["8080", "8081"]}}]}]
    objects = [
        service("asker", address="10.96.0.50", grpc=ASKER_PORT),
        endpoint_slice("asker", [COLLECTOR], grpc=ASKER_PORT),
        configuration("AuthorizationPolicy", "ask", {**spec, "rules": ports}),
        configuration(
            "MeshConfig", "default", {"extensionProviders": [{"name": "asker", "envoyExtAuthzGrpc": at}]}
        ),
    ]
    async with (
        asker(pair[0], tmp_path) as questions,
        two_hops(start_proxy, pair, tmp_path, *objects) as mesh,
    ):
        assert (await mesh.call(f"http://{VIRTUAL}/open"))[0] == "200"
        assert (await mesh.call(f"http://{VIRTUAL}/shut"))[0] == "403"
        assert (await mesh.call(f"http://{VIRTUAL}:81/raw"))[0] == "200"
        opened, shut, tcp = questions()
        assert (opened["path"], shut["path"], tcp["path"]) == ("/open", "/shut", "")
        for one in (opened, shut, tcp):
            assert (one["source"], one["destination"]) == (IDENTITIES["front"], IDENTITIES["web"])
        assert tcp["port"] == 8081
        (tmp_path / "shut").touch()
        assert (await mesh.call(f"http://{VIRTUAL}:81/raw"))[0] == "000"
        assert len(questions()) == 4


ASKER_PORT = 9100


@asynccontextmanager
async def asker(namespace: str, folder: Path) -> AsyncIterator[Callable[[], list[dict[str, Any]]]]:
    """An authorizer beside the caller: it refuses `/shut`, and TCP connections once there is a file `shut`."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, sys.executable, "-m", "mesh_testing.authorizers",
        f"{COLLECTOR}:{ASKER_PORT}", str(folder), cwd=Path(__file__).parent, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        told = folder / "questions"
        yield lambda: [json.loads(line) for line in told.read_text().splitlines()]
    finally:
        process.kill()
        await process.wait()
