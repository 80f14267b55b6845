"""Services of IPv6, and of both versions of IP: addresses, names, calls under mutual TLS, and policy."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from instance_testing.capture import capture
from instance_testing.instance import TestInstance, wait_until

pytestmark = pytest.mark.root
PODS, SERVICES = "fd48:6175:6265:726b::", "fd48:6175:6265:726b:2:"


@pytest.fixture(scope="module")
def six(mesh: TestInstance) -> Iterator[TestInstance]:
    mesh.said("up", "-d", str(Path(__file__).with_name("ipv6")), timeout=120)
    yield mesh


def families(six: TestInstance, name: str) -> tuple[list[str], str, list[str]]:
    spec = six.object("service", name, "mesh")["spec"]
    return spec["ipFamilies"], spec["ipFamilyPolicy"], spec["clusterIPs"]


def test_services_have_an_address_of_each_of_their_families(six: TestInstance) -> None:
    told, policy, addresses = families(six, "six")
    assert (told, policy) == (["IPv6"], "SingleStack")
    assert len(addresses) == 1 and addresses[0].startswith(SERVICES)
    told, policy, addresses = families(six, "both")
    assert (told, policy) == (["IPv4", "IPv6"], "PreferDualStack")
    assert addresses[0].startswith("10.96.") and addresses[1].startswith(SERVICES)
    assert families(six, "web")[:2] == (["IPv4"], "SingleStack")


def test_pods_and_their_endpoints_have_addresses_of_both(six: TestInstance) -> None:
    status = six.object("pod", "six", "mesh")["status"]
    first, second = (each["ip"] for each in status["podIPs"])
    assert first == status["podIP"] and second.startswith(PODS)
    listed = json.loads(six.said("get", "endpointslices", "-n", "mesh", "-o", "json"))["items"]
    found: dict[str, set[tuple[str, str]]] = {}
    for each in listed:
        service = each["metadata"]["labels"]["kubernetes.io/service-name"]
        addresses = [address for one in each["endpoints"] for address in one["addresses"]]
        found.setdefault(service, set()).update((each["addressType"], address) for address in addresses)
    assert found["six"] == {("IPv6", second)}
    assert found["both"] == found["pods"] == {("IPv4", first), ("IPv6", second)}


RESOLVE = "import socket,sys; print(*sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 1)}))"


def test_names_have_addresses_of_both(six: TestInstance) -> None:
    pod = [each["ip"] for each in six.object("pod", "six", "mesh")["status"]["podIPs"]]
    for name, expected in (
        ("six", families(six, "six")[2]),
        ("both", families(six, "both")[2]),
        ("pods", pod),
    ):
        assert six.client("python3", "-c", RESOLVE, name).split() == sorted(expected)


def test_a_call_over_ipv6_is_encrypted_proves_its_caller_and_is_recorded(
    six: TestInstance, tmp_path: Path
) -> None:
    fabric = tmp_path / "fabric.pcap"
    caller = [each["ip"] for each in six.pod("client")["status"]["podIPs"]]
    with ExitStack() as captures:
        captures.enter_context(capture(f"hbk-{six.name}-fabric", "any", fabric))
        answer = six.client("curl", "-sS", "--fail", "http://six:8000/")
        wait_until(lambda: fabric.stat().st_size > 2000, 5, "the call on the fabric")
    assert answer.startswith(f"{caller[1]} ") and "URI=spiffe://cluster.local/ns/mesh/sa/client" in answer
    assert b"URI=spiffe" not in fabric.read_bytes()
    assert b"\x86\xdd" in fabric.read_bytes()
    chain = six.said("why", "mesh/client", "mesh/six")
    assert chain.startswith("ALLOWED  ") and "X25519MLKEM768" in chain, chain


def test_a_service_of_both_is_called_at_either_address(six: TestInstance) -> None:
    for option in ("-4", "-6"):
        answer = six.client("curl", "-sS", "--fail", option, "http://both:8000/")
        assert "URI=spiffe://cluster.local/ns/mesh/sa/client" in answer
    greet = "import socket,sys; print(socket.create_connection((sys.argv[1], 7000), 5).makefile().read())"
    for address in families(six, "both")[2]:
        assert six.client("python3", "-c", greet, address).strip()


def test_a_headless_service_is_called_at_the_pods_own_addresses(six: TestInstance) -> None:
    caller = [each["ip"] for each in six.pod("client")["status"]["podIPs"]]
    for option, shown in (("-4", caller[0]), ("-6", caller[1])):
        assert six.client("curl", "-sS", "--fail", option, "http://pods:8000/").startswith(f"{shown} ")


def applied(six: TestInstance, kind: str, name: str, spec: dict[str, Any]) -> None:
    group = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "security.istio.io/v1"
    metadata = {"name": name, "namespace": "mesh"}
    obj = {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}
    six.said("apply", "-f", "-", text=json.dumps(obj))


def status_of(six: TestInstance, url: str) -> str:
    done = six.hauberk(
        "exec",
        "-n",
        "mesh",
        "deploy/client",
        "--",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
    )
    return done.stdout.strip()


def test_policy_holds_for_ipv6(six: TestInstance) -> None:
    rule = {"from": [{"source": {"principals": ["cluster.local/ns/mesh/sa/client"]}}]}
    chosen = {"matchLabels": {"app": "six"}}
    applied(six, "AuthorizationPolicy", "deny", {"selector": chosen, "action": "DENY", "rules": [rule]})
    wait_until(lambda: status_of(six, "http://six:8000/") == "403", 10, "the policy forbids")
    six.said("delete", "authorizationpolicy", "deny", "-n", "mesh")
    wait_until(lambda: status_of(six, "http://six:8000/") == "200", 10, "it is gone")
    applied(six, "NetworkPolicy", "deny", {"podSelector": chosen})
    wait_until(lambda: status_of(six, "http://six:8000/") == "503", 10, "the fabric refuses")
    six.said("delete", "networkpolicy", "deny", "-n", "mesh")
    wait_until(lambda: status_of(six, "http://six:8000/") == "200", 10, "it is gone")


def test_what_is_no_service_is_refused_over_ipv6_too(six: TestInstance) -> None:
    for address in (f"{PODS}a42:1", "2001:db8::1", "::ffff:10.66.0.9", f"{SERVICES}0:0:ffff"):
        done = six.hauberk(
            "exec", "-n", "mesh", "deploy/client", "--", "curl", "-s", "-m", "3", f"http://[{address}]:8000/"
        )
        assert done.returncode != 0, address
