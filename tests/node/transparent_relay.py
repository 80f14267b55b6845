"""Stands where a pod's proxy stands: a transparent relay and a name server that answers one address.

Run in a gate: `transparent_relay.py POD_ADDRESS`. Prints `ready` when all listeners are live.
"""

import asyncio
import socket
import sys

IP_TRANSPARENT = 19
SO_MARK = 36


def transparent(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
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
    upstream = transparent()
    upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, 2)
    upstream.bind((source, 0))
    destination = writer.get_extra_info("sockname")
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

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(b"answer to " + data, address)  # type: ignore[attr-defined]


async def listen(address: str) -> None:
    """Relays for the pod at `address` until the loop ends."""

    async def outbound(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, address)

    async def inbound(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, writer.get_extra_info("peername")[0])

    for port, handler in ((15001, outbound), (15006, inbound)):
        listener = transparent()
        listener.bind(("0.0.0.0", port))
        await asyncio.start_server(handler, sock=listener)
    await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=("0.0.0.0", 15053))


async def main() -> None:
    await listen(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
