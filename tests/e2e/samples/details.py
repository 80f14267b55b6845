"""Stands for bookinfo's details."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Details(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        body = json.dumps({"id": 0, "author": "William Shakespeare", "ISBN-10": "1234567890"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 9080), Details).serve_forever()
