"""Load from wrk and h2load as fast as a subject answers, and from `paced` at a fixed rate."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.bench.process import Measured

Protocol = Literal["http1", "http2", "grpc"]

CONNECTIONS = 32
"""Of wrk; h2load has the same number of requests under way, 8 on each of 4 connections."""
WARM_UP_SECONDS = 1


class LoadError(Exception):
    """A load generator failed, or a request was not answered as it should be; the message is what it wrote."""


@dataclass(frozen=True)
class Saturated:
    rate: float
    """Requests a second."""
    cpu_microseconds: float
    """CPU time of the subject, a request."""
    requests: int
    """That were answered."""


@dataclass(frozen=True)
class Paced:
    """Time from request to answer in microseconds."""

    p50: float
    p99: float


def saturate(protocol: Protocol, subject: Measured, seconds: int) -> Saturated:
    """As many requests as are answered, after a warm-up. Raises LoadError if one was answered badly."""
    if protocol == "http1":
        wrk(subject, WARM_UP_SECONDS)
        return wrk(subject, seconds)
    warm = h2load(protocol, subject, 4000)
    return h2load(protocol, subject, max(int(warm.rate * seconds), 4000))


def pace(protocol: Protocol, subject: Measured, rate: int, seconds: int) -> Paced:
    """At a fixed rate on several connections, from a process of its own."""
    return _paced(protocol, subject, ["--rate", str(rate)], seconds)


def pace_alone(protocol: Protocol, subject: Measured, seconds: int) -> Paced:
    """On one connection, each request when the last answer has come (a closed loop)."""
    return _paced(protocol, subject, ["--closed"], seconds)


def _paced(protocol: Protocol, subject: Measured, how: list[str], seconds: int) -> Paced:
    place = [protocol, subject.host, str(subject.port)]
    command = [sys.executable, "-m", "tests.bench.paced", *place, *how, "--seconds", str(seconds)]
    return Paced(**json.loads(run([*subject.prefix, *command], seconds)))


def wrk(subject: Measured, seconds: int, *options: str) -> Saturated:
    url = f"http://{subject.host}:{subject.port}/"
    before = subject.cpu_seconds()
    text = run([*subject.prefix, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options, url], seconds)
    return read_wrk(text, subject.cpu_seconds() - before)


def read_wrk(text: str, cpu_seconds: float) -> Saturated:
    """What wrk reports. Raises LoadError if a request failed."""
    if "Non-2xx" in text or "Socket errors" in text:
        raise LoadError(f"expected every request to be answered with 200, found: {text}")
    answered = number(r"(\d+) requests in", text)
    return Saturated(number(r"Requests/sec:\s+([\d.]+)", text), cpu_seconds / answered * 1e6, int(answered))


def h2load(protocol: Protocol, subject: Measured, requests: int) -> Saturated:
    url = f"http://{subject.host}:{subject.port}/"
    options: list[str] = []
    with TemporaryDirectory() as folder:
        if protocol == "grpc":
            message = Path(folder) / "message"
            message.write_bytes(bytes(5))  # an empty message: the frame's header alone
            url += "bench.Echo/Call"
            options = ["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers"]
        before = subject.cpu_seconds()
        command = ["h2load", "-t1", "-c4", "-m8", f"-n{requests}", *options, url]
        text = run([*subject.prefix, *command], requests // 200)
    # h2load does not read `grpc-status`: that each answer has the echoed 5 bytes says that the call was answered.
    body = 5 if protocol == "grpc" else None
    return read_h2load(text, subject.cpu_seconds() - before, requests, body)


def read_h2load(text: str, cpu_seconds: float, requests: int, body: int | None) -> Saturated:
    """What h2load reports. Raises LoadError if one of `requests` failed or, with `body`, had another length."""
    if int(number(r"status codes: (\d+) 2xx", text)) != requests:
        raise LoadError(f"expected {requests} answers with 200, found: {text}")
    if body is not None and int(number(r"\((\d+)\) data", text)) != requests * body:
        raise LoadError(f"expected {requests} answers of {body} bytes, found: {text}")
    return Saturated(number(r"([\d.]+) req/s", text), cpu_seconds / requests * 1e6, requests)


def run(command: list[str], seconds: int) -> str:
    """Standard output. Raises LoadError if the program fails or takes half a minute longer than it should."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"expected {command} to end within {seconds + 30} s, found it running") from error
    if done.returncode != 0:
        raise LoadError(f"{command}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise LoadError(f"expected {pattern!r} in the load generator's report, found: {text}")
    return float(found[1])
