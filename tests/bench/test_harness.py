"""The pure parts of the harness: statistics, what load generators write, the caller's codecs, the report."""

import json
import os
import socket
import threading
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st
from tests.bench import machine, objects, report
from tests.bench.curve import draw
from tests.bench.load import LoadError, read_h2load, read_wrk
from tests.bench.machine import Machine
from tests.bench.paced import (
    ACK,
    DATA,
    HEADERS,
    PING,
    RST_STREAM,
    BadAnswerError,
    Http1,
    Http2,
    call_closed,
    frame,
)
from tests.bench.process import resident_bytes
from tests.bench.report import Measurement, Row
from tests.bench.rows.control_plane import exponent
from tests.bench.rows.payment import machine_seconds
from tests.bench.spread import Spread, percentile

WRK = """Running 3s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  30000 requests in 3.00s, 8.80MB read
Requests/sec:  10000.50
"""
H2LOAD = """finished in 2.01s, 995.53 req/s, 146.80KB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 294.92KB (302000) total, 210.94KB (216000) headers (space savings 0.00%), 9.77KB (10000) data
"""
MACHINE = Machine("a processor", 2, 8.0, "6.1", 0.1)


def test_percentiles_are_nearest_ranks() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_bounds_its_part(values: list[float], part: float) -> None:
    found = percentile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * part - 1e-9


def test_a_spread_has_ends_and_middle() -> None:
    assert Spread.of([3, 1, 2, 10]) == Spread(1, 2.5, 10)
    assert Spread.of([2, 1, 3]).width == 1


def test_wrk() -> None:
    found = read_wrk(WRK, cpu_seconds=0.6)
    assert found.rate == 10000.5
    assert found.cpu_microseconds == pytest.approx(20)
    for bad in (WRK + "  Non-2xx or 3xx responses: 3\n", WRK + "  Socket errors: connect 0, read 1\n", ""):
        with pytest.raises(LoadError):
            read_wrk(bad, 1.0)


def test_h2load() -> None:
    assert read_h2load(H2LOAD, 0.02, 2000, 5).cpu_microseconds == pytest.approx(10)
    with pytest.raises(LoadError, match="2001 answers with 200"):
        read_h2load(H2LOAD, 0.02, 2001, None)
    with pytest.raises(LoadError, match="answers of 6 bytes"):
        read_h2load(H2LOAD, 0.02, 2000, 6)


def test_an_http1_answer_is_whole_at_its_length() -> None:
    caller = Http1("a:1")
    assert caller.request().startswith(b"GET / HTTP/1.1\r\nHost: a:1\r\n")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    steps = [caller.receive(answer[index : index + 1])[0] for index in range(len(answer))]
    assert steps == [False] * (len(answer) - 1) + [True]
    caller.request()
    with pytest.raises(BadAnswerError, match="503"):
        caller.receive(b"HTTP/1.1 503 No\r\n\r\n")


def test_an_http2_answer_ends_its_stream() -> None:
    caller, decoder = Http2("a:1"), Decoder()
    assert caller.opening().startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    for stream in (1, 3):
        request = caller.request()
        assert int.from_bytes(request[5:9], "big") == stream
        headers = {str(name): str(value) for name, value in decoder.decode(request[9:])}
        assert headers[":path"] == "/"
        answer = frame(PING, 0, 0, b"12345678") + frame(HEADERS, 4, stream, b"\x88")
        assert caller.receive(answer) == (False, frame(PING, ACK, 0, b"12345678"))
        with_body = frame(DATA, 1, stream, b"x")
        assert caller.receive(with_body[:5]) == (False, b"")
        assert caller.receive(with_body[5:]) == (True, b"")
    caller.request()
    with pytest.raises(BadAnswerError, match="type 3"):
        caller.receive(frame(RST_STREAM, 0, 5, b"\0\0\0\x02"))


def test_a_grpc_answer_echoes() -> None:
    caller = Http2("a:1", b"12345")
    caller.request()
    trailers = frame(HEADERS, 5, 1, b"\x88")
    assert caller.receive(frame(HEADERS, 4, 1, b"\x88") + frame(DATA, 0, 1, b"12345") + trailers)[0]
    caller.request()
    with pytest.raises(BadAnswerError, match="body"):  # an error of gRPC: headers alone
        caller.receive(frame(HEADERS, 5, 3, b"\x88"))


def test_what_proc_says() -> None:
    assert machine.processor("processor\t: 0\nmodel name\t: A B\n") == "A B"
    assert machine.memory_bytes("MemTotal:       2048 kB\n") == 2 << 20
    assert resident_bytes("Name:\tx\nVmRSS:\t     12 kB\n") == 12288
    with pytest.raises(RuntimeError, match="has ended"):
        resident_bytes("Name:\tx\n", 7)


def test_the_machines_busy_time() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    assert machine_seconds("cpu  1 2 3 400 500 4 5 600 0 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n") == 15 / ticks
    with pytest.raises(ValueError, match="found cpu0"):
        machine_seconds("cpu0 1 2 3 4 5 6 7 8 0 0\n")


def test_of_many_rules_the_last_alone_lets_the_caller_in() -> None:
    made = objects.two_workloads(rules=250)
    policies = [one for one in made if one["kind"] == "AuthorizationPolicy"]
    names = [one["metadata"]["name"] for one in policies]
    rules = [rule for one in policies for rule in one["spec"]["rules"]]
    callers = [principal for rule in rules for principal in rule["from"][0]["source"]["principals"]]
    assert names == sorted(names)
    assert len(set(callers)) == 250
    assert [caller for caller in callers if caller.endswith("/web")] == callers[-1:]


def test_a_closed_loop_counts_every_answer_after_the_warm_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer_all, args=(listener,))
        answering.start()
        taken = call_closed("http1", "127.0.0.1", listener.getsockname()[1], 0.05)
        answering.join(10)
    assert taken
    assert all(one > 0 for one in taken)


def answer_all(listener: socket.socket) -> None:
    connection = listener.accept()[0]
    with connection:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_row_a_peer_of_medians(tmp_path: Path) -> None:
    beside = Measurement("a", "us", {"hauberk": [2, 1, 9], "envoy": [4, 4, 4], "nginx": [1, 1, 1]}, ["note"])
    alone = Measurement("b", "MB", {"hauberk": [5]})
    less = Measurement("c", "us", {"hauberk": [4], "envoy": [-2]})
    text = report.write([beside, alone, less], MACHINE, {"rounds": 3}, tmp_path)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [Row(**row) for row in written] == [
        Row("a", 2, "us", "envoy", 4, 0.5),
        Row("a", 2, "us", "nginx", 1, 2),
        Row("b", 5, "MB", None, None, None),
        Row("c", 4, "us", "envoy", -2, None),
    ]
    assert (tmp_path / "bench.txt").read_text() == text
    assert "2.00 [1.00 9.00]!" in text, "a wide spread is marked"
    assert "4.00 [4.00 4.00] " in text
    assert "a: note" in text
    assert "a processor, 2 cores" in text
    rounds = json.loads((tmp_path / "bench-run.json").read_text())
    assert rounds["rounds"][0]["samples"]["hauberk"] == [2, 1, 9]


def test_a_power_law_is_found_again_and_drawn() -> None:
    curve = [(size, 3 * size**0.5) for size in (1000.0, 5000.0, 100_000.0)]
    assert exponent(curve) == pytest.approx(0.5)
    picture = ElementTree.fromstring(draw("a & b", "size", {"cost": curve}))
    (line,) = picture.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)]
    assert slopes[0] == pytest.approx(slopes[1], rel=0.01), "straight on logarithmic axes"
