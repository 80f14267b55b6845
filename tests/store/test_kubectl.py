"""A real kubectl against the server: a day's work with it."""

import asyncio
from pathlib import Path

import pytest
from tests.store.conftest import Kubectl

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: bank}\n"
MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: bank}
data: {x: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: bank}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: host, command: [sleep, "100"], env: [{name: A, value: "1"}]}
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget, shortNames: [gd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1}}}
"""
GADGET = "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g, namespace: bank}\nspec: {size: 3}\n"


@pytest.fixture
def location(tmp_path: Path) -> str:
    """What these tests look at is the same over every database."""
    return str(tmp_path / "store.db")


async def test_a_days_work(kubectl: Kubectl) -> None:
    assert "namespace/bank created" in await kubectl("apply", "-f", "-", stdin=NAMESPACE)
    assert "deployment.apps/web created" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    again = await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "configmap/a unchanged" in again and "deployment.apps/web unchanged" in again
    changed = MANIFEST.replace('value: "1"', 'value: "2"')
    difference = await kubectl("diff", "-f", "-", stdin=changed, code=1)
    assert (
        '+          value: "2"' in difference.replace('-          value: "1"', "")
        or 'value: "2"' in difference
    )
    assert "deployment.apps/web configured" in await kubectl("apply", "-f", "-", stdin=changed)
    wide = await kubectl("get", "deploy", "-n", "bank", "-o", "wide")
    assert wide.split("\n")[0].split() == (
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    )
    assert "0/2" in wide and "app=web" in wide
    assert "2 desired" in await kubectl("describe", "deploy", "web", "-n", "bank")
    assert "replicas" in await kubectl("explain", "deployment.spec")
    await kubectl("-n", "bank", "edit", "cm", "a", editor="sed -i s/x:/w:/")
    assert await kubectl("-n", "bank", "get", "cm", "a", "-o", "jsonpath={.data}") == '{"w":"1"}'
    await kubectl("-n", "bank", "scale", "deploy", "web", "--replicas=3")
    await kubectl("-n", "bank", "label", "cm", "a", "z=1")
    await kubectl("-n", "bank", "annotate", "cm", "a", "q=2")
    assert "a" in await kubectl("-n", "bank", "get", "cm", "-l", "z in (1,2)", "-o", "name")
    await kubectl("-n", "bank", "patch", "deploy", "web", "-p", STRATEGIC)
    await kubectl("-n", "bank", "patch", "cm", "a", "--type", "merge", "-p", '{"data":{"w":"3"}}')
    await kubectl(
        "-n", "bank", "patch", "cm", "a", "--type", "json", "-p", '[{"op":"remove","path":"/data/w"}]'
    )
    found = await kubectl(
        "-n", "bank", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas} {..env[*].name}"
    )
    assert found.startswith("3 ") and sorted(found[2:].split()) == ["A", "B"]
    assert (await kubectl("auth", "can-i", "delete", "pods")).strip() == "yes"
    denied = await kubectl("auth", "can-i", "delete", "pods", "--as", "someone", code=1)
    assert denied.strip().startswith("no")
    assert "deployments" in await kubectl("api-resources")
    assert "apps/v1" in await kubectl("api-versions")
    assert 'deployment.apps "web" deleted' in await kubectl("-n", "bank", "delete", "deploy", "web")
    assert 'namespace "bank" deleted' in await kubectl("delete", "ns", "bank", "--timeout=20s")


STRATEGIC = '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"2"}]}]}}}}'


async def test_watching_and_waiting(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=NAMESPACE)
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    watching = asyncio.create_task(kubectl("get", "cm", "a", "-n", "bank", "-w", "--request-timeout=4s"))
    waiting = asyncio.create_task(kubectl("wait", "--for=delete", "cm/a", "-n", "bank", "--timeout=20s"))
    await asyncio.sleep(1)  # nothing shows from outside that a watch has begun
    await kubectl("delete", "cm", "a", "-n", "bank")
    await waiting
    assert (await watching).count("\na ") >= 1


async def test_custom_resources(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=NAMESPACE)
    await kubectl("apply", "-f", "-", stdin=DEFINITION)
    await kubectl("wait", "--for=condition=Established", "crd/gadgets.example.com", "--timeout=10s")
    assert "created" in await kubectl("apply", "-f", "-", stdin=GADGET)
    assert "configured" in await kubectl("apply", "-f", "-", stdin=GADGET.replace("3", "4"))
    table = (await kubectl("get", "gd", "-n", "bank")).split("\n")
    assert table[0].split() == ["NAME", "SIZE", "AGE"] and table[1].split()[:2] == ["g", "4"]
    refused = await kubectl(
        "create", "-f", "-", stdin=GADGET.replace("3", "0").replace("name: g", "name: h"), code=1
    )
    assert "should be greater than or equal to 1" in refused
    await kubectl("delete", "crd", "gadgets.example.com")
    assert "could not find the requested resource" in await kubectl("get", "gadgets", "-n", "bank", code=1)
    # Its objects went with it.
    await kubectl("apply", "-f", "-", stdin=DEFINITION)
    assert "No resources found" in await kubectl("get", "gadgets", "-n", "bank")


async def test_errors_are_told(kubectl: Kubectl) -> None:
    assert 'configmaps "no" not found' in await kubectl("get", "cm", "no", code=1)
    bad = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec: {replica: 1}\n"
    told = await kubectl("create", "-f", "-", stdin=bad, code=1)
    assert "replica" in told
    applied = await kubectl("apply", "--server-side", "-f", "-", stdin=NAMESPACE, code=1)
    assert "unknown format" in applied or "UnsupportedMediaType" in applied
