"""A service whose payments cost fixed work: `python -m tests.bench.payment_server HOST PORT ROUNDS`.

Each request is answered after ROUNDS rounds of PBKDF2 with SHA-256; `calibrated` says how many make a millisecond of
CPU time here. One thread, HTTP/1.1 with connections that stay; `ready` is written when it listens.
"""

import hashlib
import selectors
import socket
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
END = b"\r\n\r\n"


def pay(rounds: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"payment", b"ledger", rounds)


def calibrated(milliseconds: float = 1.0) -> int:
    """Rounds that take so much CPU time: of several tries the fastest, as the least disturbed one."""
    tried = 400
    taken = []
    for _ in range(400):
        before = time.thread_time()
        pay(tried)
        taken.append(time.thread_time() - before)
    return round(tried * milliseconds / 1000 / min(taken))


def serve(host: str, port: int, rounds: int) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server((host, port), backlog=1024)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    received: dict[socket.socket, bytes] = {}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                accepted = listener.accept()[0]
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
                received[accepted] = b""
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                selector.unregister(connection)
                connection.close()
                del received[connection]
                continue
            received[connection] += data
            while END in received[connection]:
                received[connection] = received[connection].partition(END)[2]
                pay(rounds)
                connection.sendall(ANSWER)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
