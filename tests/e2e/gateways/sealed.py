"""A server with TLS of its own, which no proxy ends: says a word to whoever speaks HTTP."""

import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Sealed(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"sealed\n")

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("0.0.0.0", 8443), Sealed)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/certificate/tls.crt", "/srv/certificate/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
