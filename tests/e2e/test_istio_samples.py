"""Istio's samples behave as Istio's tasks say: bookinfo, httpbin and tcp-echo, driven through the ingress gateway.

Their files are applied unchanged; for the images, which cannot be had, stand the programs of `samples/`.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from instance_testing.instance import TestInstance, instance, wait_until
from instance_testing.samples import PROGRAMS, SAMPLES, with_stand_ins, write

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no samples at {SAMPLES}"),
]

APPLICATIONS = ("bookinfo/bookinfo", "httpbin/httpbin", "tcp-echo/tcp-echo-services")
BLACK, RED, NONE = "black stars", "red stars", "no stars"
NO_REVIEWS = "Sorry, product reviews are currently unavailable for this book."
NO_DETAILS = "Sorry, product details are currently unavailable for this book."
NO_RATINGS = "Ratings service is currently unavailable"
SETTLED = 12
"""So many answers in a row that all say the same show that it is no chance: of halves, one time in 4,096."""


CALLS = """
import json, socket, sys
def call(host, port):
    try:
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(b"world\\n")
            return connection.recv(1000).decode()
    except OSError:
        return ""
print(json.dumps({place: call(*place.split(":")) for place in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Answer:
    """What came of one request through the gateway."""

    status: int
    text: str
    headers: dict[str, str]
    seconds: float

    @property
    def stars(self) -> str:
        """How the page shows the reviews."""
        found = {star for star in (BLACK, RED, NONE) if star in self.text}
        return found.pop() if len(found) == 1 else f"{self.status}: {self.text}"


class Samples:
    """The running samples, as a visitor and as their administrator meet them."""

    def __init__(self, mesh: TestInstance) -> None:
        self.mesh = mesh
        self.address = ""

    def apply(self, *files: str) -> None:
        """Rules of the samples, unchanged, as Istio's tasks apply them."""
        self._kubectl("apply", *files)

    def delete(self, *files: str) -> None:
        self._kubectl("delete", *files, ignore="--ignore-not-found")

    def _kubectl(self, verb: str, *files: str, ignore: str = "") -> None:
        words = [word for file in files for word in ("-f", str(SAMPLES / f"{file}.yaml"))]
        environment = os.environ | {"KUBECONFIG": str(self.mesh.state / "admin.kubeconfig")}
        subprocess.run(
            ["kubectl", verb, *words, *filter(None, [ignore])], env=environment, check=True, timeout=60,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def get(self, path: str, *, user: str = "", method: str = "GET", body: str = "") -> Answer:
        began = time.monotonic()
        connection = http.client.HTTPConnection(self.address, 8080, timeout=20)
        headers = {"host": "bookinfo.example"} | ({"cookie": f"user={user}"} if user else {})
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, text, headers, time.monotonic() - began)

    def page(self, user: str = "") -> Answer:
        return self.get("/productpage", user=user)

    def pages(self, count: int, user: str = "") -> list[Answer]:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda _: self.page(user), range(count)))

    def until_all(self, stars: str, user: str = "") -> None:
        """Waits until every page shows the reviews like this."""
        wait_until(
            lambda: {page.stars for page in self.pages(SETTLED, user)} == {stars}, 15, f"all pages: {stars}"
        )

    def reviewers(self, count: int) -> Counter[str]:
        """The colours of the stars in so many answers of the product page's API."""

        def colour(_: int) -> str:
            answer = self.get("/api/v1/products/0/reviews")
            assert answer.status == 200, answer
            return str(json.loads(answer.text)["reviews"][0].get("rating", {}).get("color", "none"))

        with ThreadPoolExecutor(6) as threads:
            return Counter(threads.map(colour, range(count)))

    def calls(self, *places: str) -> dict[str, str]:
        """What tcp-echo answers the product page's pod at each HOST:PORT; nothing where it gets no answer."""
        command = ("/usr/bin/python3", "-c", CALLS, *places)
        answers: dict[str, str] = json.loads(
            self.mesh.said("exec", "deploy/productpage-v1", "--", *command, timeout=60)
        )
        return answers

    def echo(self, word: str = "hello") -> str:
        """What comes back from tcp-echo, on a connection of its own."""
        with socket.create_connection((self.address, 31400), 5) as connection:
            connection.sendall(f"{word}\n".encode())
            return connection.recv(1000).decode()


@pytest.fixture(scope="module")
def samples() -> Iterator[Samples]:
    with instance() as mesh:
        folder = mesh.folder / "applications"
        folder.mkdir()
        for name in APPLICATIONS:
            write(with_stand_ins(SAMPLES / f"{name}.yaml"), folder / f"{name.rpartition('/')[2]}.json")
        shutil.copy(PROGRAMS / "ingress.yaml", folder)
        mesh.said("up", "-d", str(folder), timeout=180)
        found = Samples(mesh)
        (pod,) = json.loads(mesh.said("get", "pods", "-n", "istio-system", "-o", "json"))["items"]
        found.address = pod["status"]["podIP"]
        yield found


@pytest.fixture
def bookinfo(samples: Samples) -> Samples:
    """Bookinfo behind its gateway, every service pinned to v1, as Istio's tasks begin."""
    samples.apply(
        "bookinfo/bookinfo-gateway", "bookinfo/destination-rule-all", "bookinfo/virtual-service-all-v1"
    )
    samples.until_all(NONE)
    return samples


def test_before_any_rule_the_versions_take_turns(samples: Samples) -> None:
    """Getting started: "reviews shown in round robin style (red stars, black stars, no stars)"."""
    samples.apply("bookinfo/bookinfo-gateway")
    samples.delete("bookinfo/virtual-service-all-v1", "bookinfo/destination-rule-all")
    wait_until(lambda: ok(samples.page), 15, "the page")
    wait_until(lambda: {page.stars for page in samples.pages(40)} == {BLACK, RED, NONE}, 15, "all versions")
    page = samples.page()
    assert "<title>Simple Bookstore App</title>" in page.text
    assert "ISBN-10: 1234567890" in page.text


def test_the_gateway_leads_on_what_its_rule_names_and_nothing_else(bookinfo: Samples) -> None:
    signed_in = bookinfo.get("/login", method="POST", body="username=jason&passwd=")
    assert (signed_in.status, signed_in.headers["set-cookie"]) == (302, "user=jason")
    assert bookinfo.get("/logout").status == 302
    assert bookinfo.get("/static/site.css").text == "file /static/site.css"
    assert json.loads(bookinfo.get("/api/v1/products").text)[0]["id"] == 0
    for path in ("/", "/productpage2", "/details/0", "/reviews/0", "/productpage/more"):
        answer = bookinfo.get(path)
        assert (answer.status, answer.text) == (404, ""), path


def test_requests_are_routed_by_who_is_signed_in(bookinfo: Samples) -> None:
    """Request routing: everybody sees v1, jason v2."""
    bookinfo.apply("bookinfo/virtual-service-reviews-test-v2")
    bookinfo.until_all(BLACK, "jason")
    bookinfo.until_all(NONE)
    bookinfo.until_all(NONE, "martha")
    bookinfo.apply("bookinfo/virtual-service-reviews-jason-v2-v3")
    bookinfo.until_all(RED)
    bookinfo.until_all(BLACK, "jason")
    bookinfo.apply("bookinfo/virtual-service-reviews-v3")
    bookinfo.until_all(RED, "jason")
    bookinfo.until_all(RED)


@pytest.mark.parametrize(
    ("file", "shares"),
    [
        ("virtual-service-reviews-50-v3", {"none": 50, "red": 50}),
        ("virtual-service-reviews-80-20", {"none": 80, "black": 20}),
        ("virtual-service-reviews-90-10", {"none": 90, "black": 10}),
        ("virtual-service-reviews-v2-v3", {"black": 50, "red": 50}),
    ],
)
def test_traffic_is_shifted_by_weight(bookinfo: Samples, file: str, shares: dict[str, int]) -> None:
    """Traffic shifting."""
    bookinfo.apply(f"bookinfo/{file}")
    rarest = min(shares, key=lambda colour: (shares[colour], colour == "none"))
    wait_until(lambda: bookinfo.reviewers(10)[rarest], 15, f"some {rarest} stars")
    seen = bookinfo.reviewers(300)
    assert set(seen) <= set(shares), seen
    for colour, share in shares.items():
        # Five standard deviations: one run in 1.7 million fails by chance.
        spread = 5 * (300 * share / 100 * (1 - share / 100)) ** 0.5
        assert abs(seen[colour] - 3 * share) < spread, seen


def test_a_delay_of_the_ratings_uncovers_the_timeout_of_the_page(bookinfo: Samples) -> None:
    """Fault injection: 7 s are less than the 10 s of reviews, but more than the page's own 3 s, twice."""
    bookinfo.apply("bookinfo/virtual-service-reviews-test-v2", "bookinfo/virtual-service-ratings-test-delay")
    bookinfo.until_all(NONE)
    page = wait_until(lambda: delayed(bookinfo.page("jason")), 25, "the page is late")
    assert 5.5 < page.seconds < 9, page
    assert page.status == 200
    assert NO_REVIEWS in page.text
    assert "ISBN-10: 1234567890" in page.text
    assert bookinfo.page().seconds < 3


def test_an_abort_of_the_ratings_is_seen_at_once(bookinfo: Samples) -> None:
    """Fault injection: "the page loads immediately and the Ratings service is currently unavailable message"."""
    bookinfo.apply("bookinfo/virtual-service-reviews-test-v2", "bookinfo/virtual-service-ratings-test-abort")
    page = wait_until(lambda: having(bookinfo.page("jason"), NO_RATINGS), 15, "the abort")
    assert page.text.count(NO_RATINGS) == 2
    assert page.seconds < 3
    bookinfo.until_all(NONE, "martha")


def test_an_abort_of_the_details_has_the_status_that_it_names(bookinfo: Samples) -> None:
    bookinfo.apply("bookinfo/fault-injection-details-v1")
    page = wait_until(lambda: having(bookinfo.page(), NO_DETAILS), 15, "the abort")
    assert page.stars == NONE
    assert bookinfo.get("/api/v1/products/0").status == 555


def test_a_subset_without_pods_is_unavailable(bookinfo: Samples) -> None:
    """No sample has details v2's pods but bookinfo-details-v2, which is not among them."""
    bookinfo.apply("bookinfo/destination-rule-all", "bookinfo/virtual-service-details-v2")
    wait_until(lambda: having(bookinfo.page(), NO_DETAILS), 15, "there is nobody")
    assert bookinfo.get("/api/v1/products/0").status == 503


@pytest.mark.parametrize("file", ["destination-rule-all-mtls", "destination-rule-reviews"])
def test_other_destination_rules_for_the_same_hosts(bookinfo: Samples, file: str) -> None:
    """ISTIO_MUTUAL said aloud changes nothing; RANDOM chooses among all versions."""
    bookinfo.apply(f"bookinfo/{file}", "bookinfo/virtual-service-reviews-test-v2")
    bookinfo.until_all(BLACK, "jason")
    bookinfo.until_all(NONE)
    bookinfo.delete("bookinfo/virtual-service-all-v1")
    wait_until(lambda: len(bookinfo.reviewers(10)) > 1, 15, "no version is chosen any more")
    seen = bookinfo.reviewers(120)
    assert set(seen) == {"none", "black", "red"}
    assert min(seen.values()) > 10, seen


def test_every_call_of_bookinfo_is_proven(bookinfo: Samples) -> None:
    bookinfo.pages(4)
    edges = json.loads(bookinfo.mesh.said("edges", "-n", "default", "--seconds", "60", "-o", "json"))
    called = {
        (edge["source"]["spiffe_id"].rpartition("/")[2], edge["destination"]["workload"]): edge["mtls"]
        for edge in edges
    }
    assert called["bookinfo-productpage", "details-v1"] is True
    assert called["bookinfo-productpage", "reviews-v1"] is True
    assert called["istio-ingressgateway", "productpage-v1"] is True
    assert all(called.values())


def test_httpbin_behind_its_gateway(samples: Samples) -> None:
    """Ingress gateways: port 80 of the gateway's Service is port 8080 of its pods."""
    samples.apply("httpbin/httpbin-gateway")
    wait_until(lambda: ok(lambda: samples.get("/get")), 15, "httpbin answers")
    assert samples.get("/status/418").status == 418
    headers = json.loads(samples.get("/headers").text)["headers"]
    assert headers["Host"] == "bookinfo.example"
    assert "/ns/istio-system/sa/istio-ingressgateway" in headers["X-Forwarded-Client-Cert"]
    assert samples.get("/delay/1").seconds >= 1
    posted = samples.get("/post", method="POST", body="x" * 100_000)
    assert json.loads(posted.text)["data"] == "x" * 100_000
    assert samples.get("/stream/20").text.count("\n") == 20
    assert (
        samples.get("/redirect-to?url=http://elsewhere.example/")
        .headers["location"]
        .startswith("http://else")
    )
    samples.delete("httpbin/httpbin-gateway")
    wait_until(lambda: not ok(lambda: samples.get("/get")), 15, "nothing leads to httpbin any more")


def test_tcp_traffic_is_shifted_by_weight(samples: Samples) -> None:
    """TCP traffic shifting: first all to v1, then a fifth of the connections to v2."""
    samples.apply("tcp-echo/tcp-echo-all-v1")
    wait_until(lambda: connects(samples.echo), 15, "tcp-echo answers")
    assert {samples.echo() for _ in range(30)} == {"one hello\n"}
    samples.apply("tcp-echo/tcp-echo-20-v2")
    wait_until(lambda: samples.echo().startswith("two"), 30, "some connection leads to v2")
    with ThreadPoolExecutor(6) as threads:
        seen = Counter(threads.map(lambda _: samples.echo(), range(300)))
    assert set(seen) == {"one hello\n", "two hello\n"}
    # Five standard deviations about 60.
    assert 25 < seen["two hello\n"] < 95, seen


def test_tcp_echo_at_each_of_its_ports(samples: Samples) -> None:
    """Its variants, each in a namespace of its own; of two address families, IPv4 is the one that is served."""
    folder = samples.mesh.folder / "variants"
    folder.mkdir()
    variants = ("tcp-echo", "tcp-echo-ipv4", "tcp-echo-dual-stack")
    for variant in variants:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns-{variant}"}}
        objects = with_stand_ins(SAMPLES / "tcp-echo" / f"{variant}.yaml")
        for each in objects:
            each["metadata"]["namespace"] = f"ns-{variant}"
        write([space, *objects], folder / f"{variant}.json")
    samples.mesh.said("up", "-d", str(folder))
    named = [f"tcp-echo.ns-{variant}:{port}" for variant in variants for port in (9000, 9001)]
    unnamed = [f"tcp-echo.ns-{variant}:9002" for variant in variants]
    wanted = dict.fromkeys(named, "hello world\n") | dict.fromkeys(unnamed, "")
    wait_until(lambda: samples.calls(*wanted) == wanted, 15, "the ports that a Service names, and no others")


def ok(ask: Callable[[], Answer]) -> bool:
    """Whether there is an answer, and a good one: a listener may not be there yet."""
    try:
        return ask().status == 200
    except OSError:
        return False


def connects(ask: Callable[[], str]) -> bool:
    try:
        return bool(ask())
    except OSError:
        return False


def having(page: Answer, words: str) -> Answer | None:
    return page if words in page.text else None


def delayed(page: Answer) -> Answer | None:
    return page if page.seconds > 3 else None
