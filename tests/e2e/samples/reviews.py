"""Stands for bookinfo's reviews: v1 has no stars, v2 black ones, v3 red ones, as many as the ratings say.

As in the original, v2 waits ten seconds for the ratings and v3 two and a half.
"""

import json
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COLOR, TIMEOUT_SECONDS = {"v1": ("", 0.0), "v2": ("black", 10.0), "v3": ("red", 2.5)}[sys.argv[1]]
REVIEWERS = ("Reviewer1", "Reviewer2")
PASSED_ON = ("end-user", "x-request-id", "traceparent", "tracestate")


class Reviews(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        reviews = [{"reviewer": reviewer, "text": "A comedy of errors."} for reviewer in REVIEWERS]
        if COLOR:
            stars = self.ratings()
            for review in reviews:
                review["rating"] = (
                    {"stars": stars[review["reviewer"]], "color": COLOR} if stars
                    else {"error": "Ratings service is currently unavailable"}
                )  # fmt: skip
        body = json.dumps({"id": "0", "podname": socket.gethostname(), "reviews": reviews}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ratings(self):
        headers = {name: self.headers[name] for name in PASSED_ON if self.headers[name]}
        request = urllib.request.Request("http://ratings:9080/ratings/0", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)["ratings"]
        except OSError:
            return None

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 9080), Reviews).serve_forever()
