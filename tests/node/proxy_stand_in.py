#!/usr/bin/env python3
# ruff: noqa: ASYNC230, ASYNC240
"""Stands where `hauberk-proxy` stands: relays transparently, answers on its admin socket, says what it did."""

import asyncio
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.node import transparent_relay


async def admin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nready")
    await writer.drain()
    writer.close()


async def main() -> None:
    bootstrap = json.loads(Path(sys.argv[2]).read_text())
    if not bootstrap["node"]["id"].startswith("router~"):
        await transparent_relay.listen(bootstrap["source_address"])
    await asyncio.start_unix_server(admin, path=bootstrap["admin"])
    record = {"type": "connection", "phase": "close", "id": "ab", "time": "", "reporter": "inbound",
              "source": {"address": bootstrap["source_address"]}, "policy": {"verdict": "allow"}}  # fmt: skip
    with Path(bootstrap["records"]).open("a") as records:
        records.write(json.dumps(record) + "\n")
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    Path(bootstrap["admin"]).unlink()


asyncio.run(main())
