"""hauberkd as users meet it: started as a process, spoken to with kubectl, killed, and found again."""

import asyncio
import base64
import copy
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from envoy.service.discovery.v3 import discovery_pb2

from hauberk.daemon.backup import backup, restore
from hauberk.daemon.lock import AlreadyRunningError
from hauberk.daemon.peer import peer_of_certificate
from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.bundle import chain_pem
from hauberk.identity.certificate import generate_key, make_request
from hauberk.identity.protocol import istio_ca_pb2
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.model import kinds
from hauberk.store.encryption import create_key_file, generate_sealer
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import read_kubeconfig

BANK = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: host, command: [web], ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
"""
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"


def slices(hauberkd: Any) -> list[Any]:
    found = json.loads(hauberkd.kubectl("get", "endpointslices", "-o", "json"))["items"]
    return [e for s in found for e in s.get("endpoints") or () if e["conditions"]["ready"]]


async def until(what: Any, *arguments: Any, seconds: float = 15) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await asyncio.to_thread(what, *arguments)):  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.05)
    return found


async def test_a_deployment_rolls_out_and_survives_a_kill(hauberkd: Any) -> None:
    hauberkd.start()
    async with hauberkd.node():
        await asyncio.to_thread(hauberkd.kubectl, "apply", "-f", "-", stdin=BANK)
        said = await asyncio.to_thread(
            hauberkd.kubectl, "rollout", "status", "deployment/web", "--timeout=20s"
        )
        assert "successfully rolled out" in said
        await until(lambda: len(slices(hauberkd)) == 2)
        before = hauberkd.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
        hauberkd.end(signal.SIGKILL)
        hauberkd.start()
        assert hauberkd.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}") == before
        await asyncio.to_thread(hauberkd.kubectl, "scale", "deployment/web", "--replicas=3")
        await asyncio.to_thread(hauberkd.kubectl, "rollout", "status", "deployment/web", "--timeout=20s")
        await until(lambda: len(slices(hauberkd)) == 3)
        change = '{"spec":{"template":{"metadata":{"labels":{"version":"two"}}}}}'
        await asyncio.to_thread(hauberkd.kubectl, "patch", "deployment/web", "-p", change)
        await asyncio.to_thread(hauberkd.kubectl, "rollout", "status", "deployment/web", "--timeout=30s")
        history = await asyncio.to_thread(hauberkd.kubectl, "rollout", "history", "deployment/web")
        assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
        await asyncio.to_thread(hauberkd.kubectl, "rollout", "undo", "deployment/web")
        await asyncio.to_thread(hauberkd.kubectl, "rollout", "status", "deployment/web", "--timeout=30s")
    assert hauberkd.end() == 0
    assert not (hauberkd.run / "hauberkd.json").exists()
    for secret in ("PRIVATE KEY", "client-key"):
        assert secret not in hauberkd.log.read_text()


async def test_ads_answers_the_pods_own_identity_and_no_other(hauberkd: Any) -> None:
    at = hauberkd.start()
    async with hauberkd.node():
        await asyncio.to_thread(hauberkd.kubectl, "apply", "-f", "-", stdin=BANK)
        await until(lambda: len(slices(hauberkd)) == 2)
        ca = hauberkd.authority()
        pod = json.loads(hauberkd.kubectl("get", "pods", "-o", "json"))["items"][0]
        name, address = pod["metadata"]["name"], pod["status"]["podIP"]
        node_id = f"sidecar~{address}~{name}.default~default.svc.cluster.local"
        names = await listeners(at["grpc"], ca, "spiffe://cluster.local/ns/default/sa/default", node_id)
        assert "virtualOutbound" in names
        for wrong in (
            "spiffe://cluster.local/ns/default/sa/other",
            "spiffe://cluster.local/ns/bank/sa/default",
        ):
            refused = await refusal(at["grpc"], ca, wrong, node_id)
            assert refused.code() == grpc.StatusCode.UNAUTHENTICATED
            assert wrong in refused.details()
        shown = json.loads(hauberkd.kubectl("get", "--raw", f"/hauberk/v1/snapshot/default/{name}"))
        assert shown["proxy"] == node_id
        assert json.loads(hauberkd.kubectl("get", "--raw", "/hauberk/v1/proxy-status")) == {
            "proxies": [],
            "refused": [],
        }


async def listeners(at: str, ca: Any, spiffe_id: str, node_id: str) -> list[str]:
    key = generate_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = chain_pem(ca.sign_workload(make_request(key), SpiffeId.parse(spiffe_id)).chain)
    credentials = grpc.ssl_channel_credentials(ca.roots_pem, pem, chain)
    async with asyncio.timeout(10), grpc.aio.secure_channel(at, credentials) as channel:
        call = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )()
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=LISTENER)
        request.node.id = node_id
        await call.write(request)
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise AssertionError(f"{await call.code()}: {await call.details()}")
        call.cancel()
        return [resource.name for resource in answer.resources]


async def refusal(at: str, ca: Any, spiffe_id: str, node_id: str) -> grpc.aio.AioRpcError:
    try:
        await listeners(at, ca, spiffe_id, node_id)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"{spiffe_id} was served the configuration of {node_id}")


def test_a_second_hauberkd_on_one_state_folder_is_refused(hauberkd: Any) -> None:
    hauberkd.start()
    second = subprocess.run(hauberkd.arguments, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"process {hauberkd.process.pid}" in second.stderr


def test_it_takes_its_ports_again(hauberkd: Any) -> None:
    first = hauberkd.start()
    hauberkd.end(signal.SIGKILL)
    again = hauberkd.start()
    assert (again["api"], again["grpc"]) == (first["api"], first["grpc"])


def test_files_with_keys_are_private(hauberkd: Any) -> None:
    hauberkd.start()
    for path in (hauberkd.admin, hauberkd.state / "node" / "one.kubeconfig", hauberkd.key):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_wrong_command_line_says_what_was_expected(hauberkd: Any) -> None:
    for option, value, expected in (
        ("--api-listen", "nowhere", "127.0.0.1:0"),
        ("--service-cidr", "10.66.0.0/16", "overlap"),
        ("--database", "mysql://x", "postgresql://"),
    ):
        done = subprocess.run(
            [*hauberkd.arguments, option, value], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert expected in done.stderr


def test_a_key_file_that_others_can_read_is_refused(hauberkd: Any) -> None:
    key: Path = hauberkd.key
    key.write_text("x")
    key.chmod(0o644)
    done = subprocess.run(hauberkd.arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "chmod 600" in done.stderr


def test_a_key_file_in_the_state_folder_is_refused(hauberkd: Any, tmp_path: Path) -> None:
    hauberkd.state.mkdir(exist_ok=True)
    link = tmp_path / "link"
    link.symlink_to(hauberkd.state)
    for path in (hauberkd.state / "key", hauberkd.state / "ca" / "key", link / "key"):
        done = subprocess.run(
            [*hauberkd.arguments, "--key-file", str(path)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "`mv " in done.stderr
        assert not path.exists()


def test_a_new_key_replaces_the_old_one_everywhere(hauberkd: Any) -> None:
    hauberkd.start()
    hauberkd.kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    hauberkd.end()
    old = hauberkd.key.read_bytes()
    create_key_file(hauberkd.key.with_name("new"))
    new = hauberkd.key.with_name("new").read_bytes()
    hauberkd.key.write_bytes(new + old)
    hauberkd.start()
    hauberkd.end(signal.SIGKILL)
    assert "drop their lines" in hauberkd.log.read_text()
    hauberkd.key.write_bytes(new)
    for path in (*hauberkd.state.rglob("*.sealed"), *hauberkd.state.glob("hauberk.db*")):
        assert old[:8] not in path.read_bytes(), path
    hauberkd.start()
    assert hauberkd.kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    hauberkd.authority().rotate()


async def test_a_node_obtains_the_svid_of_its_pod_and_no_other(hauberkd: Any) -> None:
    at = hauberkd.start()
    async with hauberkd.node():
        await asyncio.to_thread(hauberkd.kubectl, "apply", "-f", "-", stdin=BANK)
        await until(lambda: len(slices(hauberkd)) == 2)
    uid = hauberkd.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.uid}")
    issued = await certificate(hauberkd, at["grpc"], "spiffe://cluster.local/ns/default/sa/default", uid)
    leaf = x509.load_pem_x509_certificate(issued[0].encode())
    assert peer_of_certificate(leaf).spiffe_id == "spiffe://cluster.local/ns/default/sa/default"
    for wanted, pod in (
        ("spiffe://cluster.local/ns/default/sa/other", uid),
        ("spiffe://cluster.local/ns/default/sa/default", "x"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await certificate(hauberkd, at["grpc"], wanted, pod)
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def certificate(hauberkd: Any, at: str, spiffe_id: str, pod_uid: str) -> list[str]:
    node = read_kubeconfig(hauberkd.state / "node" / "one.kubeconfig")
    credentials = grpc.ssl_channel_credentials(
        node.certificate_authority, node.client_key, node.client_certificate
    )
    request = istio_ca_pb2.IstioCertificateRequest(csr=make_request(generate_key()).decode())
    request.metadata.update({"ImpersonatedIdentity": spiffe_id, "PodUID": pod_uid})
    async with grpc.aio.secure_channel(at, credentials) as channel:
        call = channel.unary_unary(
            "/istio.v1.auth.IstioCertificateService/CreateCertificate",
            request_serializer=istio_ca_pb2.IstioCertificateRequest.SerializeToString,
            response_deserializer=istio_ca_pb2.IstioCertificateResponse.FromString,
        )
        answer = await call(request, timeout=10)
    return list(answer.cert_chain)


async def test_a_node_obtains_a_serving_certificate_for_its_own_name(hauberkd: Any) -> None:
    hauberkd.start()
    key = generate_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, "system:node:one"),
        ]
    )
    names = x509.SubjectAlternativeName([x509.DNSName("one"), x509.DNSName("localhost")])
    signing = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    )
    request = base64.b64encode(signing.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)).decode()
    spec = {
        "request": request,
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["digital signature", "server auth"],
    }
    wanted = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "one-serving"},
        "spec": spec,
    }
    async with HttpClient.from_kubeconfig(hauberkd.state / "node" / "one.kubeconfig") as client:
        await client.create(kinds.CERTIFICATE_SIGNING_REQUEST, wanted)

        def signed() -> str:
            return str(hauberkd.kubectl("get", "csr", "one-serving", "-o", "jsonpath={.status.certificate}"))

        chain = base64.b64decode(await until(signed))
        lie = copy.deepcopy(wanted)
        lie["metadata"]["name"] = "two-serving"
        lie["spec"] |= {"username": "system:node:two", "groups": ["system:nodes", "system:masters"]}
        said = (await client.create(kinds.CERTIFICATE_SIGNING_REQUEST, lie))["spec"]
        assert (said["username"], "system:masters" in said["groups"]) == ("system:node:one", False)
    assert x509.load_pem_x509_certificate(chain).public_key() == key.public_key()


def test_a_stranger_reads_nothing(hauberkd: Any) -> None:
    at = hauberkd.start()
    authority = str(hauberkd.state / "ca" / "roots.pem")
    nobody = hauberkd.kubectl(
        "--kubeconfig=/dev/null", f"--server={at['api']}", f"--certificate-authority={authority}", "--token=wrong",
        "get", "--raw", "/hauberk/v1/proxy-status", check=False,
    )  # fmt: skip
    assert "Unauthorized" in nobody
    node = f"--kubeconfig={hauberkd.state / 'node' / 'one.kubeconfig'}"
    assert "forbidden" in hauberkd.kubectl(node, "get", "--raw", "/hauberk/v1/proxy-status", check=False)
    assert "forbidden" in hauberkd.kubectl(node, "get", "secrets", "-A", check=False)


def test_what_is_lost_comes_back_from_a_backup(hauberkd: Any, tmp_path: Path) -> None:
    hauberkd.start()
    hauberkd.kubectl("create", "secret", "generic", "pin", "--from-literal=pin=1234")
    roots = (hauberkd.state / "ca" / "roots.pem").read_bytes()
    backup(tmp_path / "backup", hauberkd.state)
    assert hauberkd.end() == 0
    shutil.rmtree(hauberkd.state)
    restore(tmp_path / "backup", hauberkd.state)
    hauberkd.start()
    assert hauberkd.kubectl("get", "secret", "pin", "-o", "jsonpath={.data.pin}") == "MTIzNA=="
    assert (hauberkd.state / "ca" / "roots.pem").read_bytes() == roots
    with pytest.raises(AlreadyRunningError):
        restore(tmp_path / "backup", hauberkd.state)


ORDERED = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: host, command: [db], volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: pay}
spec:
  completions: 3
  parallelism: 2
  template:
    metadata: {annotations: {instrument/ends: "yes"}}
    spec:
      restartPolicy: Never
      containers: [{name: pay, image: host, command: [pay]}]
"""


async def test_ordered_sets_and_jobs_by_kubectl(hauberkd: Any) -> None:
    hauberkd.start()
    async with hauberkd.node():
        await asyncio.to_thread(hauberkd.kubectl, "apply", "-f", "-", stdin=ORDERED)
        said = await asyncio.to_thread(
            hauberkd.kubectl, "rollout", "status", "statefulset/db", "--timeout=20s"
        )
        assert "roll out complete: 2 new pods" in said
        await asyncio.to_thread(
            hauberkd.kubectl, "wait", "--for=condition=complete", "job/pay", "--timeout=20s"
        )
        counts = hauberkd.kubectl("get", "job", "pay", "-o", "jsonpath={.status.succeeded} {.status.failed}")
        assert counts.split() in (["3"], ["3", "0"])
        change = '{"spec":{"template":{"metadata":{"labels":{"version":"two"}}}}}'
        await asyncio.to_thread(hauberkd.kubectl, "patch", "statefulset/db", "-p", change)
        await asyncio.to_thread(hauberkd.kubectl, "rollout", "status", "statefulset/db", "--timeout=30s")
        history = await asyncio.to_thread(hauberkd.kubectl, "rollout", "history", "statefulset/db")
        assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
        await asyncio.to_thread(hauberkd.kubectl, "delete", "job/pay", "statefulset/db", "--timeout=20s")
        await until(lambda: "No resources" in hauberkd.kubectl("get", "pods"))
        claims = hauberkd.kubectl("get", "pvc", "-o", "name").split()
        assert claims == ["persistentvolumeclaim/data-db-0", "persistentvolumeclaim/data-db-1"]


async def test_other_trust_domains_are_trusted_by_a_file(hauberkd: Any, tmp_path: Path) -> None:
    hauberkd.start()
    (tmp_path / "b").mkdir()
    other = CertificateAuthority.open(
        tmp_path / "b", generate_sealer(), trust_domain=TrustDomain("b.example")
    )
    folder = hauberkd.state / "federation"
    folder.mkdir()
    file = folder / "b.example.json"
    shutil.copy(tmp_path / "b" / "ca" / "bundle.json", file)

    def trusted() -> list[str]:
        return [str(each.trust_domain) for each in hauberkd.authority().bundles.federated]

    await until(lambda: trusted() == ["b.example"])
    assert hauberkd.authority().bundles.federated[0].x509_authorities == other.bundles.own.x509_authorities
    file.write_text("no bundle")
    await until(lambda: "expected the SPIFFE bundle document" in hauberkd.log.read_text())
    assert trusted() == ["b.example"], "what cannot be read changes nothing"
    file.unlink()
    await until(lambda: trusted() == [])
