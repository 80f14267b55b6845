"""Liveness, readiness and startup probes, made from inside the pod's network namespace."""

import asyncio
import errno
import http.client
import logging
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hauberk.node import netns
from hauberk.node.driver import DriverError
from hauberk.node.pod_socket import splice

log = logging.getLogger(__name__)
_OURS = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC})

Execute = Callable[[list[str]], Awaitable[int]]
"""Runs a program in the container and returns its exit code."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a probe is made, and how many answers in a row count (core/v1 Probe)."""

    initial_delay: float
    period: float
    timeout: float
    failures: int
    successes: int

    @staticmethod
    def of(probe: Mapping[str, Any]) -> "Timing":
        return Timing(
            initial_delay=float(probe.get("initialDelaySeconds") or 0),
            period=float(probe.get("periodSeconds") or 10),
            timeout=float(probe.get("timeoutSeconds") or 1),
            failures=int(probe.get("failureThreshold") or 3),
            successes=int(probe.get("successThreshold") or 1),
        )


async def follow(
    probe: Mapping[str, Any],
    container: Mapping[str, Any],
    namespace: Path,
    address: str,
    execute: Execute,
    changed: Callable[[bool, str], None],
) -> None:
    """Probes until cancelled; `changed` hears each verdict that has reached its threshold, with the reason."""
    timing = Timing.of(probe)
    await asyncio.sleep(timing.initial_delay)
    succeeded = failed = 0
    while True:
        try:
            problem = await once(probe, container, namespace, address, execute, timing.timeout)
        except OSError as error:
            # Not made at all, as when the node has no descriptor left: that says nothing about the program.
            log.error("probe of %s: %s; not counted", container["name"], error)
            await asyncio.sleep(timing.period)
            continue
        if problem is None:
            succeeded, failed = succeeded + 1, 0
            if succeeded == timing.successes:
                changed(True, "")
        else:
            succeeded, failed = 0, failed + 1
            if failed % timing.failures == 0:
                changed(False, problem)
        await asyncio.sleep(timing.period)


async def once(
    probe: Mapping[str, Any],
    container: Mapping[str, Any],
    namespace: Path,
    address: str,
    execute: Execute,
    timeout: float,
) -> str | None:
    """None if the probe succeeds, else what went wrong.

    Raises:
        OSError: the probe could not be made, for want of something on this machine.
    """
    try:
        async with asyncio.timeout(timeout):
            if command := probe.get("exec"):
                code = await execute(list(command["command"]))
                return None if code == 0 else f"command ended with exit code {code}"
            if request := probe.get("httpGet"):
                port = port_number(request["port"], container)
                return await netns.call(namespace, lambda: _http(request, address, port, timeout))
            if connection := probe.get("tcpSocket"):
                port = port_number(connection["port"], container)
                return await netns.call(namespace, lambda: _tcp(address, port, timeout))
            if service := probe.get("grpc"):
                return await _grpc(service, namespace, address)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except (DriverError, ValueError) as error:
        return str(error)
    return "the probe names none of exec, httpGet, tcpSocket, grpc"


def port_number(port: int | str, container: Mapping[str, Any]) -> int:
    """A port as a probe names it: a number, or the name of one of the container's ports."""
    if isinstance(port, int) or port.isdecimal():
        return int(port)
    for named in container.get("ports") or ():
        if named.get("name") == port:
            return int(named["containerPort"])
    raise ValueError(f'probe port "{port}": container "{container["name"]}" has no port of this name')


def _http(request: Mapping[str, Any], address: str, port: int, timeout: float) -> str | None:
    connection: http.client.HTTPConnection
    if request.get("scheme") == "HTTPS":
        import ssl  # noqa: PLC0415 - rarely needed

        # As a kubelet: a probe asks whether the program answers, not who it is.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(address, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=timeout)
    headers = {each["name"]: each["value"] for each in request.get("httpHeaders") or ()}
    try:
        connection.request(
            "GET", request.get("path") or "/", headers={"User-Agent": "hauberk-node"} | headers
        )
        code = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        _raise_if_ours(error)
        return f"GET {request.get('path') or '/'} at port {port}: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if 200 <= code < 400 else f"GET {request.get('path') or '/'} at port {port}: status {code}"


def _tcp(address: str, port: int, timeout: float) -> str | None:
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError as error:
        _raise_if_ours(error)
        return f"connect to port {port}: {error}"
    return None


def _raise_if_ours(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _OURS:
        raise error


async def _grpc(service: Mapping[str, Any], namespace: Path, address: str) -> str | None:
    """grpc.health.v1.Health/Check: field 1 of the request is the service, of the answer the status; 1 is SERVING.

    gRPC opens its connections in threads of its own, which live in the machine's namespace: so it is given
    a Unix socket, behind which lies a connection made in the pod's.
    """
    port = int(service["port"])
    name = str(service.get("service") or "").encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    try:
        inside = await netns.call(namespace, lambda: socket.create_connection((address, port)))
    except OSError as error:
        _raise_if_ours(error)
        return f"connect to port {port}: {error}"
    with tempfile.TemporaryDirectory(prefix="hauberk-") as folder:
        pod = await asyncio.open_connection(sock=inside)
        server = await asyncio.start_unix_server(
            lambda reader, writer: splice(reader, writer, *pod), path=f"{folder}/socket"
        )
        try:
            async with grpc.aio.insecure_channel(f"unix:{folder}/socket") as channel:
                check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
                answer: bytes = await check(request)
        except grpc.aio.AioRpcError as error:
            return f"grpc health at port {port}: {error.code().name}"
        finally:
            server.close()
            pod[1].close()
    return None if answer[:2] == b"\x08\x01" else f"grpc health at port {port}: not serving"
