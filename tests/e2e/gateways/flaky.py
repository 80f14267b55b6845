"""Answers every request with the status of its argument."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Flaky(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        self.send_response(int(sys.argv[1]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 8000), Flaky).serve_forever()
