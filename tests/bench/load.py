"""Load from wrk and h2load: what they sent, and how many requests were answered well."""

import re
import subprocess
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

from tests.bench.process import Measured

CONNECTIONS = 32


@dataclass(frozen=True)
class Result:
    rate: float  # requests a second
    cpu_microseconds: float  # of the subject, a request


def http1(subject: Measured, seconds: int) -> Result:
    """HTTP/1.1 over 32 kept connections by wrk. Raises RuntimeError if any request failed."""
    command = [
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{subject.port}/",
    ]  # fmt: skip
    before = subject.cpu_seconds()
    text = run(command, seconds)
    cpu = subject.cpu_seconds() - before
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"expected every request to be answered with 200, found: {text}")
    return Result(number(r"Requests/sec:\s+([\d.]+)", text), cpu / number(r"(\d+) requests in", text) * 1e6)


def http2(subject: Measured, seconds: int) -> Result:
    """HTTP/2 in clear text with prior knowledge: 4 connections of 8 streams, by h2load."""
    requests = 8000 * seconds
    command = [
        "h2load", "-t1", "-c4", "-m8", f"-n{requests}", f"http://127.0.0.1:{subject.port}/",
    ]  # fmt: skip
    before = subject.cpu_seconds()
    text = run(command, seconds * 10)
    cpu = subject.cpu_seconds() - before
    if int(number(r"status codes: (\d+) 2xx", text)) != requests:
        raise RuntimeError(f"expected {requests} answers with 200, found: {text}")
    return Result(number(r"([\d.]+) req/s", text), cpu / requests * 1e6)


def grpc(subject: Measured, seconds: int) -> Result:
    """Unary gRPC calls with an empty message (5 bytes, the frame's header), by h2load. h2load does not read
    `grpc-status`: that each answer holds the echoed 5 bytes says that the call was answered, since an error has none.
    """
    calls = 1000 * seconds
    with NamedTemporaryFile() as message:
        message.write(bytes(5))
        message.flush()
        command = [
            "h2load", "-t1", "-c4", "-m8", f"-n{calls}", "-d", message.name,
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"http://127.0.0.1:{subject.port}/bench.Echo/Call",
        ]  # fmt: skip
        before = subject.cpu_seconds()
        text = run(command, seconds * 10)
        cpu = subject.cpu_seconds() - before
    if int(number(r"\((\d+)\) data", text)) != calls * 5:
        raise RuntimeError(f"expected {calls} calls to be echoed, found: {text}")
    return Result(number(r"([\d.]+) req/s", text), cpu / calls * 1e6)


def run(command: list[str], seconds: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"expected {pattern!r} in the load generator's report, found: {text}")
    return float(found[1])
