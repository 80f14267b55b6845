"""Unmodified programs call each other: protocols, what the wire shows, policy, routing, and the verbs that explain."""

import json
import secrets
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from instance_testing.capture import capture
from instance_testing.instance import TestInstance, wait_until
from prometheus_client.openmetrics.parser import text_string_to_metric_families

pytestmark = pytest.mark.root


def deny(app: str, port: int) -> str:
    """A policy that forbids the client what it may do without."""
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "deny", "namespace": "mesh"},
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "action": "DENY",
                "rules": [
                    {
                        "from": [{"source": {"principals": ["cluster.local/ns/mesh/sa/client"]}}],
                        "to": [{"operation": {"ports": [str(port)]}}],
                    }
                ],
            },
        }
    )


CALLS = {
    "http": ("curl", "-sS", "--fail", "--data", "MARKER", "http://web:8000/"),
    "tcp": ("python3", "/srv/programs/tcp_call.py", "echo", "7000", "MARKER"),
    "grpc": ("python3", "/srv/programs/grpc_call.py", "MARKER"),
}


@pytest.mark.parametrize("protocol", CALLS)
def test_a_marker_is_on_the_pods_link_and_not_on_the_fabric(
    mesh: TestInstance, protocol: str, tmp_path: Path
) -> None:
    marker = secrets.token_hex(12)
    gate = f"hbk-{mesh.name}-gate-{mesh.pod('client')['metadata']['uid']}"
    pod_link, fabric = tmp_path / "pod.pcap", tmp_path / "fabric.pcap"
    with ExitStack() as captures:
        captures.enter_context(capture(gate, "hbk0", pod_link))
        captures.enter_context(capture(f"hbk-{mesh.name}-fabric", "any", fabric))
        answer = mesh.client(*(word.replace("MARKER", marker) for word in CALLS[protocol]))
        assert marker in answer
        wait_until(lambda: marker.encode() in pod_link.read_bytes(), 5, "the marker on the pod's link")
        wait_until(lambda: fabric.stat().st_size > 2000, 5, "the call on the fabric")
    assert marker.encode() not in fabric.read_bytes()


def test_a_program_learns_its_callers_identity(mesh: TestInstance) -> None:
    answer = mesh.client("curl", "-sS", "--include", "http://web.mesh.svc.cluster.local:8000/")
    assert "URI=spiffe://cluster.local/ns/mesh/sa/client" in answer


@pytest.fixture(scope="module")
def databases(mesh: TestInstance) -> TestInstance:
    """The mesh with MariaDB, PostgreSQL and a mail server in it."""
    mesh.said("up", "-d", str(Path(__file__).with_name("databases")), timeout=120)
    return mesh


def test_a_server_that_speaks_first_is_detected(databases: TestInstance) -> None:
    query = ("mariadb", "-h", "mariadb", "-P", "3310", "-u", "test", "-ptest", "--skip-ssl", "-N", "-e")
    assert databases.client(*query, "SELECT 41 + 1").strip() == "42"


def test_mail_is_delivered(databases: TestInstance) -> None:
    letter = "printf 'Subject: hello\\r\\n\\r\\nthrough two proxies\\r\\n'"
    send = "curl -sS --mail-from a@bank.example --mail-rcpt b@bank.example -T - smtp://post:2525"
    databases.client("sh", "-c", f"{letter} | {send}")
    assert "through two proxies" in databases.said("logs", "-n", "mesh", "deploy/post")


def test_a_server_with_a_tls_handshake_of_its_own_is_detected(databases: TestInstance) -> None:
    where = "host=postgresql port=5440 user=test dbname=postgres sslmode=require"
    query = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert databases.client("psql", "-At", "-c", query, where).strip() == "t|TLSv1.3"


def test_what_is_no_service_of_the_mesh_is_refused(mesh: TestInstance) -> None:
    done = mesh.hauberk(
        "exec", "-n", "mesh", "deploy/client", "--", "curl", "-sS", "-m", "5", "http://192.0.2.1/"
    )
    assert done.returncode != 0, done.stdout


def test_routes_by_header_and_by_weight(mesh: TestInstance) -> None:
    assert mesh.client("curl", "-sS", "-H", "wants: v2", "http://web:8000/[1-20]").split() == ["v2"] * 20
    assert mesh.client("curl", "-sS", "http://web:8000/[1-20]").split() == ["v1"] * 20
    canary = Counter(mesh.client("curl", "-sS", "http://web:8000/canary/[1-400]").split())
    assert sum(canary.values()) == 400
    # 25 of 100, and eight standard deviations about it.
    assert 31 <= canary["v2"] <= 169, canary


def test_a_tightened_policy_refuses_at_once_and_then_allows_again(mesh: TestInstance) -> None:
    def status() -> str:
        return mesh.client("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://web:8000/")

    assert status() == "200"
    mesh.said("apply", "-f", "-", text=deny("web", 8000))
    try:
        wait_until(lambda: status() == "403", 5, "the call is refused")
    finally:
        mesh.said("delete", "authorizationpolicy", "deny", "-n", "mesh")
    wait_until(lambda: status() == "200", 5, "the call is allowed")


def test_a_request_refused_on_an_older_connection_is_explained(mesh: TestInstance) -> None:
    mesh.said("apply", "-f", "-", text=deny("web", 8000))
    try:

        def why() -> bool:
            done = mesh.hauberk("why", "mesh/steady", "mesh/web", "--verdict", "deny")
            return "ns[mesh]-policy[deny]-rule[0]" in done.stdout

        wait_until(why, 5, "the refusal is explained")
    finally:
        mesh.said("delete", "authorizationpolicy", "deny", "-n", "mesh")


def test_an_audited_call_is_allowed_and_its_policy_is_shown(mesh: TestInstance) -> None:
    policy = json.loads(deny("web", 8000))
    policy["metadata"]["name"], policy["spec"]["action"] = "watch", "AUDIT"
    mesh.said("apply", "-f", "-", text=json.dumps(policy))
    try:

        def audited() -> dict[str, Any] | None:
            lines = mesh.said(
                "tap", "mesh/web", "--type", "request", "--count", "3", "-o", "json"
            ).splitlines()
            return next((record for record in map(json.loads, lines) if record["policy"].get("audit")), None)

        call = wait_until(audited, 10, "a request of `steady` is audited")
        assert call["policy"]["verdict"] == "allow"
        chain = mesh.said("why", call["id"])
        assert "audited by ns[mesh]-policy[watch]-rule[0]" in chain, chain
    finally:
        mesh.said("delete", "authorizationpolicy", "watch", "-n", "mesh")


def test_a_collector_of_the_mesh_is_told_over_mutual_tls(mesh: TestInstance) -> None:
    folder, marker = Path(__file__).with_name("collector"), secrets.token_hex(8)
    mesh.said("up", "-d", str(folder), timeout=120)
    try:

        def told() -> bool:
            mesh.client("curl", "-sS", f"http://web:8000/{marker}")
            lines = mesh.said("logs", "-n", "mesh", "deploy/collector").splitlines()
            about = [line for line in lines if f"/{marker}" in line]
            return {line.split()[0] for line in about} == {"entries", "spans"}

        wait_until(told, 60, "the collector hears of the call, by an entry and by a span")
        chain = mesh.said("why", "mesh/client", "mesh/collector")
        assert chain.startswith("ALLOWED  spiffe://cluster.local/ns/mesh/sa/client"), chain
        assert "X25519MLKEM768" in chain, chain
    finally:
        mesh.said("delete", "-f", str(folder))


def test_a_tightened_policy_closes_a_live_connection(mesh: TestInstance) -> None:
    held = subprocess.Popen(
        mesh.command("exec", "-n", "mesh", "deploy/client", "--", "python3", "/srv/programs/hold.py"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == "alive\n"
        mesh.said("apply", "-f", "-", text=deny("echo", 7000))
        said, _ = held.communicate(timeout=10)
        assert said.endswith("closed\n"), said
    finally:
        held.kill()
        mesh.said("delete", "authorizationpolicy", "deny", "-n", "mesh", "--ignore-not-found")


def test_edges_show_both_identities(mesh: TestInstance) -> None:
    def edge() -> dict[str, object] | None:
        edges = json.loads(mesh.said("edges", "-n", "mesh", "-o", "json"))
        return next((each for each in edges if each["destination"]["workload"].startswith("web")), None)

    found = wait_until(edge, 15, "the edge from steady to web")
    assert found["mtls"] is True
    assert str(found["source"]["spiffe_id"]).endswith("/ns/mesh/sa/client")  # type: ignore[index]
    assert found["requests_per_second"]


def test_metrics_name_both_ends_and_the_route_and_have_calls_to_look_at(mesh: TestInstance) -> None:
    """Read by Prometheus's own parser of OpenMetrics."""
    uid = mesh.pod("web")["metadata"]["uid"]

    def exemplar() -> Any:
        page = subprocess.run(
            ["curl", "-sS", "--unix-socket", mesh.run / "pods" / uid / "admin.sock",
             "-H", "Accept: application/openmetrics-text", "http://proxy/stats/prometheus"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        families = {family.name: family for family in text_string_to_metric_families(page)}
        routes = families["hauberk_route_requests"].samples
        assert any(sample.labels["response_code_class"] == "2xx" for sample in routes), routes
        labels = families["istio_requests"].samples[0].labels
        assert labels["source_workload_namespace"] == labels["destination_workload_namespace"] == "mesh"
        assert (labels["destination_app"], labels["destination_version"]) == ("web", "v1")
        assert labels["destination_service_name"] == "web"
        buckets = families["istio_request_duration_milliseconds"].samples
        return next((sample.exemplar for sample in buckets if sample.exemplar), None)

    found = wait_until(exemplar, 60, "one request of 64 is recorded")
    chain = mesh.hauberk("why", found.labels["call_id"]).stdout
    assert chain.startswith(("ALLOWED", "REFUSED")), (
        "of calls that other tests had refused there are records, too"
    )


def test_a_tapped_call_can_be_asked_about(mesh: TestInstance) -> None:
    lines = mesh.said("tap", "mesh/web", "--type", "connection", "--count", "20", "-o", "json").splitlines()
    # The proxies share one connection between them, so that it is the caller's own that opens and closes.
    call = next(record for record in map(json.loads, lines) if record["source"]["serial"])
    chain = mesh.said("why", call["id"])
    assert chain.startswith("ALLOWED  spiffe://cluster.local/ns/mesh/sa/client"), chain
    assert call["source"]["serial"] in chain
    missing = chain[chain.index("missing") :]
    assert all(ring in missing for ring in ("source", "build", "release", "boot", "sandbox", "enclave"))


def test_every_request_is_seen_while_somebody_taps_by_any_field(mesh: TestInstance) -> None:
    marker, seen = secrets.token_hex(8), 20

    def tapped() -> list[dict[str, Any]]:
        with ThreadPoolExecutor() as pool:
            watching = pool.submit(
                mesh.said, "tap", "mesh/web", "--count", str(3 * seen), "-o", "json",
                "--where", f"path=/{marker}/*", "--where", "status=200", "--where", "reporter=inbound",
                "--where", "source.spiffe_id=*/ns/mesh/sa/client",
            )  # fmt: skip
            calls = " ".join(f"http://web:8000/{marker}/{number}" for number in range(seen))
            while not watching.done():
                mesh.client("sh", "-c", f"curl -s -o /dev/null {calls}")
            return [json.loads(line) for line in watching.result().splitlines()]

    found = tapped()
    # Two whole rounds of calls at least: of one in 64 hardly any would be there.
    assert len({record["path"] for record in found}) == seen
    assert mesh.hauberk("tap", "--where", "colour=red").returncode == 2


def test_proxies_are_in_sync_and_show_what_they_run(mesh: TestInstance) -> None:
    status = mesh.said("proxy-status", "-n", "mesh")
    assert status.count("sidecar") >= 7
    assert not {"STALE", "REFUSED", "NOT SENT"} & set(status.split())
    shown = mesh.said("proxy-config", "deploy/web-v1", "-n", "mesh")
    assert "InboundPassthroughCluster" in shown
    assert "outbound|8000|v2|web.mesh.svc.cluster.local" in shown
    assert "PRIVATE KEY" not in mesh.said("proxy-config", "deploy/web-v1", "-n", "mesh", "-o", "json")
