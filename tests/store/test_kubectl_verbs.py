"""Every verb of a real kubectl: what an API server takes works, what is not served is refused cleanly."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.store.conftest import Kubectl

from hauberk.store.local_client import LocalClient
from hauberk.store.server import ApiServer
from hauberk.workloads.run import run_controllers

NAMESPACE = ("-n", "default")
DEPLOYED = ("create", "deployment", "web", "--image=host")
OLD = 20
"""Debian's minor version, which lacks some of the verbs."""


@pytest.fixture
def location(tmp_path: Path) -> str:
    """What these tests look at is the same over every database."""
    return str(tmp_path / "store.db")


@pytest.fixture
async def controllers(server: ApiServer) -> AsyncIterator[None]:
    """Deployments get replica sets, which get pods."""
    task = asyncio.create_task(run_controllers(LocalClient(server.objects), lambda: ""))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def minor_version(kubectl: Kubectl) -> int:
    version = json.loads(await kubectl("version", "--client", "-o", "json"))["clientVersion"]
    return int(version["gitVersion"].split(".")[1])


async def told(kubectl: Kubectl, words: str, *arguments: str) -> str:
    """What kubectl prints once `words` are in it."""
    async with asyncio.timeout(30):
        while True:
            if words in (printed := await kubectl(*arguments)):
                return printed
            await asyncio.sleep(0.1)


MADE = (
    ("deployment web --image=host --replicas=0 -- sleep 100", ".spec.replicas}=0"),
    ("deployment web --image=host", ".spec.template.spec.containers[0].image}=host"),
    ("job web --image=host -- true --flag", '.spec.template.spec.containers[0].command}=["true","--flag"]'),
    ("service clusterip web --tcp=80:8080", ".spec.ports[0].targetPort}=8080"),
    ("service nodeport web --tcp=80:http", ".spec.ports[0].targetPort}=http"),
    ("service externalname web --external-name=a.b", ".spec.externalName}=a.b"),
    ("secret generic web --from-literal=a=b", ".data.a}=Yg=="),
    ("configmap web --from-literal=a=b", ".data.a}=b"),
    ("serviceaccount web", ".metadata.name}=web"),
    ("role web --verb=get --resource=pods", '.rules[0].apiGroups}=[""]'),
    ("rolebinding web --role=r --serviceaccount=default:sa", ".subjects[0].name}=sa"),
    ("clusterrole web --verb=get --non-resource-url=/x", '.rules[0].nonResourceURLs}=["/x"]'),
    ("clusterrolebinding web --clusterrole=r --group=g", ".subjects[0].name}=g"),
    ("namespace web", ".status.phase}=Active"),
)  # fmt: skip
"""Go's typed client sends these in protobuf."""


async def test_create(kubectl: Kubectl) -> None:
    for arguments, expected in MADE:
        kind, *rest = arguments.split()
        assert "created" in await kubectl("create", kind, *rest)
        path, _, value = expected.partition("}=")
        assert await kubectl("get", kind, "web", "-o", f"jsonpath={{{path}}}") == value
        await kubectl("delete", kind, "web")


async def test_a_disruption_budget_and_tokens(kubectl: Kubectl) -> None:
    if await minor_version(kubectl) <= OLD:
        pytest.skip("this kubectl has no `create token`, and asks for policy/v1beta1")
    await kubectl("create", "pdb", "p", "--selector=app=web", "--min-available=50%")
    assert await kubectl("get", "pdb", "p", "-o", "jsonpath={.spec.minAvailable}") == "50%"
    token = (await kubectl("create", "token", "default", "--duration=1h", "--audience=x")).strip()
    assert token.count(".") == 2


async def test_a_deployments_life(kubectl: Kubectl, controllers: None) -> None:
    await kubectl(*DEPLOYED)
    await kubectl("wait", "--for=condition=Progressing", "deploy/web", "--timeout=10s")
    assert "scaled" in await kubectl("scale", "deployment", "web", "--replicas=3")
    assert "exposed" in await kubectl("expose", "deployment", "web", "--port=80")
    assert "env updated" in await kubectl("set", "env", "deployment/web", "A=1")
    assert "updated" in await kubectl("set", "resources", "deployment/web", "--limits=cpu=100m")
    assert "updated" in await kubectl("set", "serviceaccount", "deployment/web", "default")
    assert "updated" in await kubectl("set", "selector", "service", "web", "app=x")
    assert "updated" in await kubectl("set", "image", "deployment/web", "host=nginx")
    assert "restarted" in await kubectl("rollout", "restart", "deployment/web")
    history = await told(kubectl, "\n4 ", "rollout", "history", "deployment/web")
    assert "REVISION" in history
    first = await kubectl("rollout", "history", "deployment/web", "--revision=1")
    assert "revision #1" in first and "Image:" in first
    assert "rolled back" in await kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    environment = "jsonpath={.spec.template.spec.containers[0].env}"
    assert await kubectl("get", "deploy", "web", "-o", environment) == ""
    assert "paused" in await kubectl("rollout", "pause", "deployment/web")
    assert "resumed" in await kubectl("rollout", "resume", "deployment/web")
    await kubectl("label", "deployment", "web", "x=y")
    assert "already has a value" in await kubectl("label", "deployment", "web", "x=z", code=1)
    await kubectl("label", "--overwrite", "deployment", "web", "x=z")
    await kubectl("annotate", "deployment", "web", "x=y")
    await kubectl("delete", "deploy", "web", "--cascade=orphan")
    owned = await kubectl("get", "rs", "-o", "jsonpath={.items[*].metadata.ownerReferences}")
    assert owned.strip(" []") == "" and "web-" in await kubectl("get", "rs")
    assert "deleted" in await kubectl("delete", "all", "--all")
    assert "No resources found" in await kubectl("get", "deploy,rs,job,svc")


async def test_deleting_in_the_foreground(kubectl: Kubectl, controllers: None) -> None:
    await kubectl(*DEPLOYED)
    await kubectl("wait", "--for=condition=Progressing", "deploy/web", "--timeout=10s")
    # It returns when all is gone; a pod on no node goes at once.
    await kubectl("delete", "deploy", "web", "--cascade=foreground", "--timeout=20s")
    assert "No resources found" in await kubectl("get", "rs,pods")


async def test_apply_diff_and_replace(kubectl: Kubectl) -> None:
    manifest = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata: {a: "1"}\n'
    from_stdin = ("-f", "-")
    assert "server dry run" in await kubectl("apply", *from_stdin, "--dry-run=server", stdin=manifest)
    assert "+  a: " in await kubectl("diff", *from_stdin, stdin=manifest, code=1)
    await kubectl("apply", *from_stdin, stdin=manifest)
    assert await kubectl("diff", *from_stdin, stdin=manifest) == ""
    assert "a: " in await kubectl("apply", "view-last-applied", *from_stdin, stdin=manifest)
    assert "replaced" in await kubectl("replace", *from_stdin, stdin=manifest)
    assert "replaced" in await kubectl("replace", "--force", *from_stdin, stdin=manifest)
    assert "AlreadyExists" in await kubectl("create", *from_stdin, stdin=manifest, code=1)
    for kind, patch in (
        ("strategic", '{"data":{"b":"2"}}'),
        ("merge", '{"data":{"b":"3"}}'),
        ("json", '[{"op":"test","path":"/data/b","value":"3"},{"op":"remove","path":"/data/b"}]'),
    ):
        assert "patched" in await kubectl("patch", "cm", "a", f"--type={kind}", "-p", patch)
    assert "server dry run" in await kubectl("delete", "cm", "a", "--dry-run=server")
    assert "a" in await kubectl("get", "cm", "a", "-o", "name")
    assert "deleted" in await kubectl("delete", "cm", "--all")


async def test_questions_about_the_api(kubectl: Kubectl) -> None:
    assert "FIELDS" in await kubectl("explain", "pod.spec", "--recursive")
    assert "deployments" in await kubectl("api-resources", "--api-group=apps", "-o", "wide")
    assert "[*]" in await kubectl("auth", "can-i", "--list")
    somebody = "--as=system:serviceaccount:default:default"
    assert "selfsubjectaccessreviews" in await kubectl("auth", "can-i", "--list", somebody)
    assert "no" in await kubectl("auth", "can-i", "get", "pods/log", somebody, code=1)
    assert await kubectl("get", "--raw", "/readyz") == "ok"
    assert "gitVersion" in await kubectl("get", "--raw", "/version")
    assert '"items":' in await kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps")
    assert "running at" in await kubectl("cluster-info")
    if await minor_version(kubectl) > OLD:
        assert "admin" in await kubectl("auth", "whoami")
        await kubectl("create", "cm", "a", "--from-literal=a=b")
        await kubectl("wait", "--for=jsonpath={.data.a}=b", "cm/a", "--timeout=5s")


REFUSED = (
    ("top pods", "Metrics API not available"),
    ("top nodes", "Metrics API not available"),
    ("create cronjob c --image=host --schedule=@daily -- true", "could not find the requested resource"),
    ("create quota q --hard=pods=1", "could not find the requested resource"),
    ("create ingress i --rule=a.b/=s:80", "could not find the requested resource"),
    ("get --raw /metrics", "could not find the requested resource"),
    ("apply --server-side -f -", "unknown format"),
    ("debug waiting --image=host", "ephemeral containers are disabled"),
    ("cordon nowhere", "not found"),
    ("certificate approve nothing", "not found"),
    ("get nothing", "the server doesn't have a resource type"),
)  # fmt: skip


async def test_what_is_not_served_is_refused(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("run", "waiting", "--image=host", "--command", "--", "sleep", "100")
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"
    for arguments, why in REFUSED:
        assert why in await kubectl(*arguments.split(), stdin=manifest, code=1)


async def test_events_and_scales_are_printed_as_their_readers_know_them(
    kubectl: Kubectl, controllers: None
) -> None:
    await kubectl("run", "waiting", "--image=host")
    events = await told(kubectl, "FailedScheduling", "get", "events")
    assert events.split("\n")[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    if await minor_version(kubectl) > OLD:
        await kubectl("create", "deployment", "web", "--image=host", "--replicas=2")
        scale = await kubectl("get", "deploy", "web", "--subresource=scale")
        assert scale.split("\n")[0].split() == ["NAME", "DESIRED", "AVAILABLE", "AGE"]
        assert scale.split("\n")[1].split()[:2] == ["web", "2"]
