"""The node's HTTP API (docs/architecture.md, "The node's HTTP API"): logs, exec, pods, call records, edges, proxies."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from hauberk.chain.record_filter import Filter, MalformedFilterError, parse_filter
from hauberk.node import (
    attach_stream,
    container_log,
    container_spec,
    exec_stream,
    port_forward,
    proxy_admin,
    proxy_folder,
)
from hauberk.node.agent import Agent
from hauberk.node.container_worker import ContainerWorker
from hauberk.node.metrics import MetricsHistory
from hauberk.node.pod_setup import Node
from hauberk.node.pod_worker import PodWorker
from hauberk.node.record_store import Query, RecordStore
from hauberk.node.serving_certificate import ServingCertificate
from hauberk.node.tap import Watched, tap

GROUP = "system:masters"
API_SERVER = frozenset({"hauberkd", "kube-apiserver-kubelet-client"})
MOST_RECORDS = 10_000
DEFAULT_RECORDS = 100
LONGEST_LOG = 4 * 1024 * 1024


class Api:
    """Set `agent` before serving."""

    def __init__(self, node: Node, records: RecordStore, authority: bytes) -> None:
        self.agent: Agent | None = None
        self.certificate = ServingCertificate(node.client, node.settings.name, authority)
        self._node = node
        self._records = records
        self._metrics = MetricsHistory(node.settings.run / "pods")
        self._socket = socket.create_server(("127.0.0.1", 0))
        app = web.Application(middlewares=[_authorize])
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/pods", self._pods),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
                web.get("/exec/{namespace}/{pod}/{container}", self._exec),
                web.get("/attach/{namespace}/{pod}/{container}", self._attach),
                web.get("/portForward/{namespace}/{pod}", self._port_forward),
                web.get("/hauberk/v1/records", self._list_records),
                web.get("/hauberk/v1/tap", self._tap),
                web.get("/hauberk/v1/edges", self._edges),
                web.get("/hauberk/v1/svids/{serial}", self._svid),
                web.route("*", "/hauberk/v1/proxy/{namespace}/{pod}/{path:.*}", self._proxy),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)

    @property
    def port(self) -> int:
        """Fixed from the beginning; answered once there is a certificate."""
        port: int = self._socket.getsockname()[1]
        return port

    async def run(self) -> None:
        """Serves until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.certificate.run())
            group.create_task(self._metrics.run())
            await self.certificate.ready.wait()
            await self._runner.setup()
            await web.SockSite(self._runner, self._socket, ssl_context=self.certificate.context).start()

    async def close(self) -> None:
        await self._runner.cleanup()
        self._socket.close()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, _request: web.Request) -> web.Response:
        items = [worker.pod for worker in self._workers()]
        return web.json_response({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        pod, container = self._container(request)
        attempt = container.progress.attempt
        if _flag(request, "previous"):
            if attempt == 0:
                raise web.HTTPBadRequest(
                    text=f'previous terminated container "{container.progress.name}" not found'
                )
            attempt -= 1
        if container.progress.state is None and attempt == container.progress.attempt and attempt > 0:
            attempt -= 1  # between two starts: what the last one said
        settings, uid = self._node.settings, pod.record.uid
        file = container_spec.log_file(settings, uid, container.progress.name, attempt)
        driver_folder = file.parent
        if not file.exists() and pod.record.gateway:
            return web.Response(text=await asyncio.to_thread(_said, pod.run_folder / "proxy.log"))

        answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await answer.prepare(request)
        tail = request.query.get("tailLines")
        async for text in container_log.read(
            file,
            ended=lambda: self._has_ended(driver_folder),
            follow=_flag(request, "follow"),
            tail=int(tail) if tail and tail.isdecimal() else None,
            timestamps=_flag(request, "timestamps"),
        ):
            await answer.write(text)
        await answer.write_eof()
        return answer

    def _has_ended(self, folder: Path) -> bool:
        state = self._node.driver.state(folder)
        return state is None or state.phase == "exited"

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        pod, container = self._container(request)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="expected at least one `command` in the query, found none")
        folder = container_spec.folder(
            self._node.settings, pod.record.uid, container.progress.name, container.progress.attempt
        )
        return await exec_stream.serve(
            request, self._node.driver, folder, command, terminal=_flag(request, "tty")
        )

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        pod, container = self._container(request)
        if container.progress.state is None or container.progress.state.phase != "running":
            raise web.HTTPBadRequest(text=f"container {container.progress.name} is not running")
        folder = container_spec.folder(
            self._node.settings, pod.record.uid, container.progress.name, container.progress.attempt
        )
        return await attach_stream.serve(request, folder / "log", lambda: self._has_ended(folder))

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        pod = self._pod(request)
        return await port_forward.serve(request, pod.network.pod, pod.record.address)

    async def _list_records(self, request: web.Request) -> web.Response:
        self._check_records()
        found = self._records.query(_query(request))
        return web.Response(text=f"[{','.join(found)}]", content_type="application/json")

    async def _tap(self, request: web.Request) -> web.StreamResponse:
        self._check_records()
        query, filters = _query(request), _filters(request)
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        async with contextlib.aclosing(tap(self._records, self._watched, query, filters)) as found:
            async for record in found:
                await answer.write(record.body.encode() + b"\n")
        return answer

    def _watched(self) -> list[Watched]:
        return [Watched(worker.run_folder, worker.record.namespace) for worker in self._workers()]

    async def _edges(self, request: web.Request) -> web.Response:
        self._check_records()
        seconds = request.query.get("seconds", "10")
        if not seconds.isdecimal() or int(seconds) < 1:
            raise web.HTTPBadRequest(text=f"seconds: expected a whole number above 0, found {seconds!r}")
        return web.json_response(self._metrics.edges(int(seconds)))

    def _check_records(self) -> None:
        if not self._node.proxy.keeps_records:
            raise web.HTTPNotImplemented(
                text=f"expected proxies that keep call records, found {self._node.proxy.name} on this node: "
                "start it without --proxy to have them; `hauberk logs POD --proxy` shows the access log"
            )

    async def _svid(self, request: web.Request) -> web.Response:
        serial = request.match_info["serial"].lower()
        file = self._node.settings.svids / f"{serial}.pem"
        if not all(character in "0123456789abcdef" for character in serial) or not file.exists():
            raise web.HTTPNotFound(text=f"SVID {serial}: this node has issued none of this serial number")
        return web.Response(body=file.read_bytes(), content_type="application/x-pem-file")

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        """The admin interface of a pod's proxy."""
        run = self._pod(request).run_folder
        url = f"{proxy_admin.URL}/{request.match_info['path']}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        try:
            async with (
                proxy_admin.session(run, timeout) as admin,
                admin.request(request.method, url, params=request.query, data=await request.read()) as found,
            ):
                answer = web.StreamResponse(status=found.status, headers={"Content-Type": found.content_type})
                await answer.prepare(request)
                async for chunk in found.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
                return answer
        except (aiohttp.ClientConnectorError, OSError) as error:
            raise web.HTTPServiceUnavailable(
                text=f"the pod's proxy does not answer at {run / 'admin.sock'}: {error}"
            ) from error

    def _workers(self) -> list[PodWorker]:
        return [] if self.agent is None else list(self.agent.pods.values())

    def _pod(self, request: web.Request) -> PodWorker:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        found = None if self.agent is None else self.agent.find(namespace, name)
        if found is None:
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" does not run on this node')
        return found

    def _container(self, request: web.Request) -> tuple[PodWorker, ContainerWorker]:
        pod = self._pod(request)
        name = request.match_info["container"]
        worker = pod.worker(name)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{pod.record.name}" has no container "{name}"')
        return pod, worker


@web.middleware
async def _authorize(request: web.Request, handler: Any) -> web.StreamResponse:
    """TLS has checked the certificate's chain; here is asked whose it is."""
    connection = request.transport
    peer = connection.get_extra_info("peercert") if connection is not None else None
    subject = {key: value for group in (peer or {}).get("subject", ()) for key, value in group}
    groups = {
        value
        for group in (peer or {}).get("subject", ())
        for key, value in group
        if key == "organizationName"
    }
    if GROUP not in groups and subject.get("commonName") not in API_SERVER:
        raise web.HTTPForbidden(
            text=f"expected a client certificate of the API server or of {GROUP}, "
            f"found {subject.get('commonName') or 'none'}"
        )
    answer: web.StreamResponse = await handler(request)
    return answer


def _said(log: Path) -> str:
    """The end of what a proxy wrote to its log. Raises `HTTPInternalServerError` if the log is not its own."""
    try:
        return proxy_folder.last(log, LONGEST_LOG).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise web.HTTPInternalServerError(text=str(error)) from error


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in {"true", "1"}


def _query(request: web.Request) -> Query:
    limit = request.query.get("limit", str(DEFAULT_RECORDS))
    if not limit.isdecimal():
        raise web.HTTPBadRequest(text=f"limit: expected a whole number, found {limit!r}")
    wanted = {key: request.query.get(key, "") for key in ("source", "destination", "verdict", "id", "type")}
    return Query(**wanted, limit=min(int(limit), MOST_RECORDS))


def _filters(request: web.Request) -> tuple[Filter, ...]:
    try:
        return tuple(parse_filter(each) for each in request.query.getall("where", []))
    except MalformedFilterError as error:
        raise web.HTTPBadRequest(text=f"where: {error}") from error
