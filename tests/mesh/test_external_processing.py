"""ExternalProcessor: the same questions and answers at a real Envoy and at our own proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as proc
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.processors import Processor, changed, headers_of, unchanged
from mesh_testing.running import StartProxy

ROUTES = virtual_service({"route": [to("v1")]})
BUFFERED = {"body": "Buffered"}


@asynccontextmanager
async def processing(
    start_proxy: StartProxy, folder: Path, processor: Processor, **spec: Any
) -> AsyncIterator[Front]:
    objects = [ROUTES, *processor.facts(**spec)]
    async with processor.running(), front(start_proxy, objects, folder) as edge:
        yield edge


async def test_headers_of_both_are_shown_and_changed(start_proxy: StartProxy, tmp_path: Path) -> None:
    processor = Processor()

    def answer(part: str, _asked: Any) -> proc.ProcessingResponse:
        if part == "request_headers":
            return changed(part, {"x-user": "anna", "x-color": "blue"}, ("x-secret",))
        return changed(part, {"x-processed": "yes"}, ("server",))

    processor.answer = answer
    async with processing(start_proxy, tmp_path, processor) as edge:
        status, body, headers = await edge.get("/a?b=c", "PUT", b"123", x_color="red", x_secret="s")
        assert (status, headers["x-processed"]) == (200, "yes")
        assert (body["headers"]["x-user"], body["headers"]["x-color"]) == ("anna", "blue")
        assert "x-secret" not in body["headers"]
        assert edge.heard[-1].body == b"123"
        (first, asked), (second, told) = processor.seen
        assert (first, second) == ("request_headers", "response_headers")
        found = headers_of(asked)
        assert (found[":method"], found[":path"], found[":authority"]) == ("PUT", "/a?b=c", "reviews.example")
        assert (found["x-color"], asked.end_of_stream) == ("red", False)
        assert headers_of(told)[":status"] == "200"


async def test_bodies_are_shown_whole_and_replaced(start_proxy: StartProxy, tmp_path: Path) -> None:
    processor = Processor()

    def answer(part: str, asked: Any) -> proc.ProcessingResponse:
        match part:
            case "request_body":
                return changed(part, body=asked.body[::-1])
            case "response_body":
                body = b'{"instead of": %d}' % len(asked.body)
                # Envoy wants to be told; ours measures it itself.
                return changed(part, {"content-length": str(len(body))}, body=body)
        return unchanged(part, asked)

    processor.answer = answer
    async with processing(start_proxy, tmp_path, processor, request=BUFFERED, response=BUFFERED) as edge:
        sent = bytes(range(256)) * 1000
        status, body, headers = await edge.get("/", "POST", sent)
        assert status == 200
        assert edge.heard[-1].body == sent[::-1]
        seen = dict(processor.seen)
        assert seen["request_body"].body == sent
        assert seen["request_body"].end_of_stream
        assert body == {"instead of": len(seen["response_body"].body)}
        assert int(headers["content-length"]) == len(b'{"instead of": %d}' % body["instead of"])


async def test_a_body_that_is_too_long_is_refused(start_proxy: StartProxy, tmp_path: Path) -> None:
    processor = Processor()
    async with processing(start_proxy, tmp_path, processor, request=BUFFERED) as edge:
        assert (await edge.get("/", "POST", bytes(3 << 20)))[0] == 413
        assert edge.heard == []


async def test_an_immediate_answer_ends_the_request(start_proxy: StartProxy, tmp_path: Path) -> None:
    processor = Processor()

    def answer(part: str, asked: Any) -> proc.ProcessingResponse:
        if headers_of(asked).get(":path") != "/shut":
            return unchanged(part, asked)
        response = proc.ProcessingResponse()
        immediate = response.immediate_response
        immediate.status.code = 402
        immediate.body = b"pay first"
        option = immediate.headers.set_headers.add(append_action="OVERWRITE_IF_EXISTS_OR_ADD")
        option.header.key, option.header.raw_value = "x-price", b"5"
        return response

    processor.answer = answer
    async with processing(start_proxy, tmp_path, processor) as edge:
        status, body, headers = await edge.get("/shut")
        assert (status, body["text"], headers["x-price"]) == (402, "pay first", "5")
        assert edge.heard == []
        assert (await edge.get("/open"))[0] == 200


async def test_what_is_skipped_is_not_shown(start_proxy: StartProxy, tmp_path: Path) -> None:
    processor = Processor()
    processor.answer = lambda part, _asked: changed(part, {"x-processed": "yes"})
    skipped = {"request": {"headers": "Skip"}}
    async with processing(start_proxy, tmp_path, processor, **skipped) as edge:
        status, _, headers = await edge.get()
        assert (status, headers["x-processed"]) == (200, "yes")
        assert [part for part, _ in processor.seen] == ["response_headers"]


@pytest.mark.parametrize(("mode", "expected"), [("Allow", 200), ("Deny", {500, 504})])
@pytest.mark.parametrize("how", ["late", "wrong part"])
async def test_without_an_answer_the_failure_mode_decides(
    start_proxy: StartProxy, tmp_path: Path, how: str, mode: str, expected: Any
) -> None:
    processor = Processor()
    if how == "late":
        processor.delay = 2
    else:
        processor.answer = lambda _part, asked: unchanged("request_body", asked)
    async with processing(start_proxy, tmp_path, processor, timeout="0.2s", failure_mode=mode) as edge:
        status = (await edge.get())[0]
        # Envoy calls a late answer a gateway's timeout; ours is 500 for whatever is missing.
        assert status == expected if isinstance(expected, int) else status in expected


async def test_a_processor_cannot_change_what_steers_a_message(tmp_path: Path) -> None:
    processor = Processor()
    names = ("host", ":path", ":method", "content-length", "transfer-encoding", "connection")

    def answer(part: str, _asked: Any) -> proc.ProcessingResponse:
        return changed(part, dict.fromkeys(names, "9"), names)

    processor.answer = answer
    async with processing(hauberk_proxy, tmp_path, processor) as edge:
        status, body, _ = await edge.get("/kept", "POST", b"123")
        assert (status, body["path"], body["method"]) == (200, "/kept", "POST")
        assert (edge.heard[-1].host, edge.heard[-1].body) == ("reviews.example", b"123")
        metrics = await edge.running.admin("/stats/prometheus")
        assert 'hauberk_external_processing_total{processor="default/edge",outcome="answered"} 2' in metrics
