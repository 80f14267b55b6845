"""Stands for bookinfo's product page: asks for details and reviews, and says on its page what came of it.

Of the original it has what Istio's tasks rest on: a sign-in whose user is passed on as `end-user`, three seconds for
each question, and a second attempt for reviews.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TIMEOUT_SECONDS = 3.0
PASSED_ON = ("x-request-id", "traceparent", "tracestate")


class ProductPage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/productpage":
            self.page()
        elif path == "/api/v1/products":
            self.answer(200, json.dumps([{"id": 0, "title": "The Comedy of Errors"}]), "application/json")
        elif path == "/api/v1/products/0":
            self.api(self.details)
        elif path == "/api/v1/products/0/reviews":
            self.api(self.reviews)
        elif path == "/logout":
            self.answer(302, "", location="/productpage", cookie="user=; Max-Age=0")
        elif path.startswith("/static/"):
            self.answer(200, f"file {path}")
        else:
            self.answer(404, "no such page of bookinfo")

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if self.path != "/login":
            self.answer(404, "no such page of bookinfo")
            return
        self.answer(302, "", location="/productpage", cookie=f"user={form['username'][0]}")

    def page(self):
        user = self.user()
        lines = ["<title>Simple Bookstore App</title>", f"signed in: {user or 'nobody'}"]
        status, details = self.details()
        if status == 200:
            lines.append(f"ISBN-10: {details['ISBN-10']}")
        else:
            lines.append(details["error"])
        status, reviews = self.reviews()
        if status == 200:
            lines.append(f"Reviews served by: {reviews['podname']}")
            for review in reviews["reviews"]:
                rating = review.get("rating", {})
                stars = f"{rating['stars']} {rating['color']} stars" if "stars" in rating else "no stars"
                lines.append(f"{review['reviewer']}: {rating.get('error', stars)}")
        else:
            lines.append(reviews["error"])
        self.answer(200, "\n".join(lines) + "\n", "text/html")

    def details(self):
        return self.ask("http://details:9080/details/0", "details", 1)

    def reviews(self):
        return self.ask("http://reviews:9080/reviews/0", "reviews", 2)

    def ask(self, url, what, attempts):
        """The status and JSON of a service's answer; an error's words where there is none."""
        headers = {name: self.headers[name] for name in PASSED_ON if self.headers[name]}
        if user := self.user():
            headers["end-user"] = user
        status = 500
        for _ in range(attempts):
            try:
                request = urllib.request.Request(url, headers=headers)
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                status = 500
        return status, {"error": f"Sorry, product {what} are currently unavailable for this book."}

    def api(self, ask):
        status, body = ask()
        self.answer(status, json.dumps(body), "application/json")

    def user(self):
        cookie = SimpleCookie(self.headers.get("cookie", ""))
        return cookie["user"].value if "user" in cookie else ""

    def answer(self, status, text, kind="text/plain", location="", cookie=""):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        if cookie:
            self.send_header("set-cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 9080), ProductPage).serve_forever()
