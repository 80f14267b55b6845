"""Answers with what was asked, so that the caller can tell whether the answer is its own.

It ends three seconds after SIGTERM: it is called until everybody has heard that it ends.
"""

import hashlib
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BIG = bytes(range(256)) * 4096


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_args: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind = self.path.partition("?")[0]
        if kind == "/hang":
            time.sleep(30)
        if kind == "/slow":
            time.sleep(0.3)
        if kind == "/broken":
            # A server may close a connection at any time: here in the midst of an answer.
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            self.close_connection = True
            return
        said = f"{self.command} {self.path} {hashlib.sha256(body).hexdigest()}\n".encode()
        if kind == "/big":
            said += BIG
        status = 503 if kind == "/failing" else 200
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.send_header("x-program", "answered")
        if kind == "/closing":
            # Said to go on, and closed all the same, a moment later: the race of keep-alive.
            self.close_connection = True
        self.end_headers()
        self.wfile.write(said)


def end(*_args: object) -> None:
    threading.Timer(3.0, os._exit, (0,)).start()


signal.signal(signal.SIGTERM, end)
ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
