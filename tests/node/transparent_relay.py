"""Stands where a pod's proxy stands: a transparent relay and a name server that answers one address.

Run in a gate: `transparent_relay.py POD_ADDRESS`. Prints `ready` when all listeners are live.
"""

import asyncio
import socket
import sys
from typing import Any

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
SO_MARK = 36


def transparent(family: int = socket.AF_INET) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    else:
        opened.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setblocking(False)
    return opened


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
    destination = writer.get_extra_info("sockname")[:2]
    upstream = transparent(socket.AF_INET6 if ":" in destination[0] else socket.AF_INET)
    upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, 2)
    upstream.bind((source, 0))
    try:
        await asyncio.get_running_loop().sock_connect(upstream, destination)
        up_reader, up_writer = await asyncio.open_connection(sock=upstream)
    except OSError:
        writer.transport.abort()
        return
    await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
    writer.close()
    up_writer.close()


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(b"answer to " + data, address)  # type: ignore[attr-defined]


async def listen(*addresses: str) -> None:
    """Relays for the pod at `addresses`, IPv4 and perhaps IPv6, until the loop ends."""

    async def outbound(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        six = ":" in writer.get_extra_info("sockname")[0]
        await relay(reader, writer, next(each for each in addresses if (":" in each) == six))

    async def inbound(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, writer.get_extra_info("peername")[0])

    for port, handler in ((15001, outbound), (15006, inbound)):
        for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = transparent(family)
            listener.bind((every, port))
            await asyncio.start_server(handler, sock=listener)
    for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        names = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            names.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        names.bind((every, 15053))
        await asyncio.get_running_loop().create_datagram_endpoint(NameServer, sock=names)


async def main() -> None:
    await listen(*sys.argv[1:])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
