"""A real kube-apiserver over a real etcd, without controllers: what they would make, a test makes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from conformance_testing.built import built, installed
from conformance_testing.process import answers, eventually, free_ports, program

SECONDS_TO_START = 120
TOKEN = "conformance"
SERVICE_ADDRESSES = "10.96.0.0/16"


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A running API server, and `kubectl` as its administrator."""

    kubeconfig: Path
    _kubectl: Path

    async def kubectl(self, *arguments: str, text: str = "") -> str:
        """What kubectl printed; it must end well."""
        process = await asyncio.create_subprocess_exec(
            str(self._kubectl), "--kubeconfig", str(self.kubeconfig), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, said = await process.communicate(text.encode())
        assert process.returncode == 0, f"kubectl {' '.join(arguments)}: {said.decode()}"
        return output.decode()

    async def apply(self, *objects: dict[str, Any], namespace: str = "default") -> None:
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        await self.kubectl("apply", "-n", namespace, "-f", "-", text=items)

    async def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.kubectl("get", *arguments, "-o", "json"))
        return found

    async def set_status(self, kind: str, namespace: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        await self.kubectl(
            "patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch
        )


@asynccontextmanager
async def kubernetes(folder: Path) -> AsyncIterator[Kubernetes]:
    """etcd and kube-apiserver, ready, with all their files in `folder`."""
    server, etcd = built("kube-apiserver"), installed("etcd", "etcd-server")
    kubectl = installed("kubectl", "kubernetes-client")
    client, peer, secure = free_ports(3)
    store = f"http://127.0.0.1:{client}"
    accounts = _service_account_key(folder)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    async with (
        program(
            [
                etcd, "--data-dir", folder / "etcd", "--unsafe-no-fsync",
                f"--listen-client-urls={store}", f"--advertise-client-urls={store}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
            ],
            folder / "etcd.log",
        ),
        program(
            [
                server, f"--etcd-servers={store}", f"--secure-port={secure}", "--bind-address=127.0.0.1",
                f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC", f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={accounts}", f"--service-account-key-file={accounts}.pub",
                # Nobody makes default accounts here, so that pods name their own.
                "--disable-admission-plugins=ServiceAccount",
                "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
            ],
            folder / "kube-apiserver.log",
        ),
    ):  # fmt: skip
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(f"https://127.0.0.1:{secure}")))
        # `/readyz` is open to everybody, and good once the server's own roles are there.
        await eventually(
            lambda: answers(f"https://127.0.0.1:{secure}/readyz"),
            SECONDS_TO_START,
            f"kube-apiserver is ready; {folder / 'kube-apiserver.log'} says why not",
        )
        yield Kubernetes(kubeconfig, kubectl)


def _service_account_key(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = folder / "accounts.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.with_name("accounts.pem.pub").write_bytes(public)
    return file


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "admin"}}],
        "current-context": "c",
    }
