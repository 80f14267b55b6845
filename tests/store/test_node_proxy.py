"""Requests that a node answers: logs, exec over a WebSocket, the node's own API."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.store.conftest import Authority, listening

from hauberk.model.kinds import NODE, POD
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import format_kubeconfig
from hauberk.store.node_proxy import HttpNodeProxy
from hauberk.store.server import ApiServer


async def logs(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(f"{request.path} {request.query_string}\n".encode())
    return answer


async def execute(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
    await socket.prepare(request)
    command = " ".join(request.query.getall("command"))
    await socket.send_bytes(b"\x01" + f"{request.path} ran {command}\n".encode())
    await socket.send_bytes(b'\x03{"metadata":{},"status":"Success"}')
    await socket.close()
    return socket


async def pods(request: web.Request) -> web.Response:
    assert "Authorization" not in request.headers
    return web.json_response({"path": request.path})


@pytest.fixture
def location(tmp_path: Path) -> str:
    """What these tests look at is the same over every database."""
    return str(tmp_path / "store.db")


@pytest.fixture
async def node(
    server: ApiServer, client: HttpClient, authority: Authority, tmp_path: Path
) -> AsyncIterator[int]:
    """A node's API, and the node and a pod that say where it is."""
    app = web.Application()
    app.router.add_get("/containerLogs/{rest:.*}", logs)
    app.router.add_get("/exec/{rest:.*}", execute)
    app.router.add_get("/pods", pods)
    context = authority.server_context(tmp_path)
    server.node_proxy = HttpNodeProxy(server.objects, NODE, authority.connection(0, "hauberkd").ssl_context())
    async with listening(app, context) as node_port:
        await client.create(NODE, {"metadata": {"name": "one"}})
        state = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node_port}},
        }
        await client.patch(NODE, None, "one", {"status": state}, subresource="status")
        container = {"name": "c", "image": "host", "command": ["true"]}
        for name, spec in (("p", {"nodeName": "one"}), ("unbound", {})):
            metadata = {"name": name, "namespace": "default"}
            await client.create(POD, {"metadata": metadata, "spec": {"containers": [container], **spec}})
        yield node_port


async def test_logs_and_the_nodes_api_are_carried(node: int, client: HttpClient) -> None:
    base = "/api/v1/namespaces/default/pods"
    text = await client.raw("GET", f"{base}/p/log?tailLines=3")
    assert text == "/containerLogs/default/p/c tailLines=3\n"
    assert await client.raw("GET", "/api/v1/nodes/one/proxy/pods") == {"path": "/pods"}
    for path, code in (
        (f"{base}/unbound/log", 400),
        (f"{base}/absent/log", 404),
        (f"{base}/p/log?container=no", 400),
        ("/api/v1/nodes/two/proxy/pods", 404),
        (f"{base}/p/nothing", 404),
    ):
        with pytest.raises(ApiError) as refused:
            await client.raw("GET", path)
        assert refused.value.code == code
    assert node


async def test_exec_is_carried(node: int, client: HttpClient) -> None:
    url = f"{client.connection.server}/api/v1/namespaces/default/pods/p/exec"
    query = [("command", "ls"), ("command", "-l"), ("stdout", "true")]
    async with (
        asyncio.timeout(10),
        client._open().ws_connect(url, params=query, protocols=["v5.channel.k8s.io"]) as socket,
    ):
        assert socket.protocol == "v5.channel.k8s.io"
        assert await socket.receive_bytes() == b"\x01/exec/default/p/c ran ls -l\n"
        assert b"Success" in await socket.receive_bytes()
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    assert node


async def test_kubectl_logs_and_exec(node: int, port: int, authority: Authority, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(format_kubeconfig(authority.connection(port, "admin", "system:masters")))

    async def kubectl(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--kubeconfig",
            str(config),
            *arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    assert "/containerLogs/default/p/c" in await kubectl("logs", "p")
    version = json.loads(await kubectl("version", "--client", "-o", "json"))["clientVersion"]
    if int(version["minor"].rstrip("+")) < 31:
        pytest.skip(f"kubectl {version['gitVersion']} has no exec over WebSockets; 1.31 is the first")
    assert await kubectl("exec", "p", "--", "ls", "-l") == "/exec/default/p/c ran ls -l\n"
    assert node


async def test_a_node_away_is_told(node: int, client: HttpClient) -> None:
    gone = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    await client.patch(NODE, None, "one", {"status": gone}, subresource="status")
    with pytest.raises(ApiError) as away:
        await client.raw("GET", "/api/v1/namespaces/default/pods/p/log")
    assert away.value.code == 503
    assert node
