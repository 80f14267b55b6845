"""Stands for Istio's tcp-echo-server: on each of its ports, a line comes back with a word before it.

Arguments: ports, separated by commas, and the word.
"""

import socket
import socketserver
import sys
from threading import Thread

PORTS, WORD = sys.argv[1].split(","), sys.argv[2].encode()


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(WORD + b" " + line)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6  # and IPv4 as well
    allow_reuse_address = True
    daemon_threads = True


servers = [Server(("::", int(port)), Echo) for port in PORTS]
for server in servers[1:]:
    Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
