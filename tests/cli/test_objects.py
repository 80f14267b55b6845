"""apply, get, describe, delete and analyze against a real control plane."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import yaml

from hauberk.cli.errors import CommandError
from hauberk.cli.verbs.delete import delete_one, until_gone
from hauberk.cli.verbs.get import Asked
from hauberk.model import kinds
from hauberk.store.client import ApiError, Event, ObjectList
from hauberk.store.http_client import HttpClient

Instance = Any
"""conftest's; a conftest cannot be imported by name here."""

WEB = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %(namespace)s, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: host
        command: [/bin/sleep, "1"]
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: %(namespace)s}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
"""
DATABASE = """apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: %(namespace)s}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: host, command: [/bin/sleep, "60"]}]
"""
BAD = """apiVersion: v1
kind: Service
metadata: {name: good}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: bad}
spec:
  ports:
  - port: 70000
---
apiVersion: v1
kind: Nothing
metadata: {name: x}
"""


def test_apply_creates_then_changes_then_leaves_alone(
    instance: Instance, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(WEB % {"namespace": namespace})
    assert instance.hauberk("apply", "-f", file, "--dry-run").out.splitlines() == [
        "deployment.apps/web created (dry run)",
        "service/web created (dry run)",
    ]
    instance.hauberk("get", "deploy/web", "-n", namespace, code=4)
    assert instance.hauberk("apply", "-f", file).out.splitlines() == [
        "deployment.apps/web created",
        "service/web created",
    ]
    file.write_text(
        file.read_text().replace("replicas: 2", "replicas: 3").replace(', {name: B, value: "2"}', "")
    )
    assert instance.hauberk("apply", "-f", tmp_path).out.splitlines() == [
        "deployment.apps/web configured",
        "service/web unchanged",
    ]
    found = yaml.safe_load(instance.hauberk("get", "deploy/web", "-n", namespace, "-o", "yaml").out)
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]


def test_what_others_set_stays_and_what_is_no_longer_written_goes(instance: Instance, namespace: str) -> None:
    config = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {namespace}}}\n"
    config += "data: {a: '1', b: '2'}\n"
    instance.hauberk("apply", "-f", "-", stdin=config)
    instance.hauberk("apply", "-f", "-", stdin=config.replace(", b: '2'", ", c: '3'"))
    found = instance.hauberk("get", "cm/c", "-n", namespace, "-o", "json").json
    assert found["data"] == {"a": "1", "c": "3"}


def test_a_bad_document_changes_nothing_and_every_error_is_listed(
    instance: Instance, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    done = instance.hauberk("apply", "-f", file, code=2)
    assert "nothing was applied: 2 errors" in done.err
    assert f"{file}:11:" in done.err and f"{file}:14:" in done.err, done.err
    instance.hauberk("get", "svc/good", code=4)


def test_what_the_server_would_refuse_changes_nothing_either(instance: Instance, namespace: str) -> None:
    text = WEB % {"namespace": namespace}
    instance.hauberk("apply", "-f", "-", stdin=text)
    changed = text.replace("{matchLabels: {app: web}}", "{matchLabels: {app: new}}").replace(
        "metadata: {labels: {app: web}}", "metadata: {labels: {app: new}}"
    )
    first = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: first, namespace: {namespace}}}\n---\n"
    done = instance.hauberk("apply", "-f", "-", stdin=first + changed, code=2)
    assert "<stdin>:" in done.err and "spec.selector" in done.err, done.err
    instance.hauberk("get", "cm/first", "-n", namespace, code=4)


def test_get_prints_what_the_server_prints(instance: Instance, namespace: str) -> None:
    instance.hauberk("apply", "-f", "-", stdin=WEB % {"namespace": namespace})
    header, row = instance.hauberk("get", "deploy", "-n", namespace).out.splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:2] == ["web", "0/2"]
    everywhere = instance.hauberk("get", "deploy", "-A", "-l", "app=web").out.splitlines()
    assert everywhere[0].split()[0] == "NAMESPACE" and any(
        line.split()[0] == namespace for line in everywhere
    )
    names = instance.hauberk("get", "deploy,svc", "-n", namespace, "-o", "name").out.split()
    assert names == ["deployment.apps/web", "service/web"]
    assert not instance.hauberk("get", "deploy", "-n", namespace, "-l", "app=other").out
    listed = instance.hauberk(
        "get", "svc", "-n", namespace, "--field-selector", "metadata.name=web", "-o", "json"
    ).json
    assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]


def test_custom_kinds(instance: Instance, namespace: str) -> None:
    group = f"{namespace}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"lamps.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"watts": {"type": "integer"}}}}}},
            }],
        },
    }  # fmt: skip
    instance.hauberk("apply", "-f", "-", stdin=yaml.safe_dump(definition))
    lamp = {"apiVersion": f"{group}/v1", "kind": "Lamp", "metadata": {"name": "one", "namespace": namespace}}
    instance.hauberk("apply", "-f", "-", stdin=yaml.safe_dump({**lamp, "spec": {"watts": 1}}))
    again = instance.hauberk("apply", "-f", "-", stdin=yaml.safe_dump({**lamp, "spec": {"watts": 2}}))
    assert again.out == f"lamp.{group}/one configured\n"
    assert instance.hauberk("get", f"lamps.{group}/one", "-n", namespace, "-o", "json").json["spec"] == {
        "watts": 2
    }


def test_describe_shows_pods_events_and_no_secret(instance: Instance, namespace: str) -> None:
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\n"
    secret += "stringData: {key: hunter2}\n"
    instance.hauberk("apply", "-f", "-", stdin=secret)
    shown = instance.hauberk("describe", "secret/s", "-n", namespace).out
    assert "key: 7 bytes" in shown and "hunter2" not in shown and "aHVudGVyMg" not in shown
    instance.hauberk("apply", "-f", "-", stdin=WEB % {"namespace": namespace})
    shown = instance.until("ScalingReplicaSet", "describe", "deploy/web", "-n", namespace)
    assert "Labels:" in shown


def test_describe_names_the_network_policies_that_select_a_pod(instance: Instance, namespace: str) -> None:
    for name, app in (("of-web", "web"), ("of-other", "other")):
        policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        policy += f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        policy += f"spec: {{podSelector: {{matchLabels: {{app: {app}}}}}, egress: [{{}}]}}\n"
        instance.hauberk("apply", "-f", "-", stdin=policy)
    for name, app in (("web", "web"), ("free", "free")):
        pod = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\n"
        pod += "spec: {containers: [{name: c, image: host, command: [/bin/true]}]}\n"
        instance.hauberk("apply", "-f", "-", stdin=pod)
    shown = instance.hauberk("describe", "pod/web", "-n", namespace).out
    assert "Network policies:\n  of-web (Ingress, Egress)\n" in shown
    assert "Network policies: <none" in instance.hauberk("describe", "pod/free", "-n", namespace).out


def test_delete(instance: Instance, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(WEB % {"namespace": namespace})
    instance.hauberk("apply", "-f", file)
    assert instance.hauberk("delete", "-f", file, "--timeout", "20").out.splitlines() == [
        "service/web deleted",
        "deployment.apps/web deleted",
    ]
    assert "not found" in instance.hauberk("delete", "svc/web", "-n", namespace, code=4).err
    instance.hauberk("delete", "svc/web", "-n", namespace, "--ignore-not-found")
    instance.hauberk("delete", "svc", "-n", namespace, code=2)


@pytest.mark.parametrize("words", [("-f", "FILE"), ("svc/web",), ("svc", "web")])
@pytest.mark.parametrize("choice", [("-l", "app=other"), ("--all",)])
def test_what_chooses_among_a_kind_goes_with_a_kind_alone(
    instance: Instance, namespace: str, tmp_path: Path, words: tuple[str, ...], choice: tuple[str, ...]
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(WEB % {"namespace": namespace})
    instance.hauberk("apply", "-f", file)
    given = [str(file) if word == "FILE" else word for word in words]
    refused = instance.hauberk("delete", *given, *choice, "-n", namespace, code=2)
    assert choice[0] in refused.err and "alone" in " ".join(refused.err.split())
    assert "web" in instance.hauberk("get", "svc", "-n", namespace).out


class Replaced:
    """A control plane where a pod has come in the place of the deleted one before anybody looks."""

    async def raw(self, method: str, _where: str, _body: Any) -> dict[str, Any]:
        assert method == "DELETE"
        return {"kind": "Pod", "metadata": {"name": "db-0", "uid": "old"}}

    async def get(self, *_where: str) -> dict[str, Any]:
        return {"kind": "Pod", "metadata": {"name": "db-0", "uid": "new"}}


async def test_what_comes_in_the_place_of_the_deleted_is_not_waited_for() -> None:
    client, target = cast(HttpClient, Replaced()), (kinds.POD, "bank", "db-0")
    uid = await delete_one(client, target)
    assert uid == "old"
    await until_gone(client, [(target, uid)], 0.2)
    with pytest.raises(CommandError, match="gone"):
        await until_gone(client, [(target, "new")], 0.2)


def test_a_pod_of_a_stateful_set_can_be_deleted(instance: Instance, namespace: str) -> None:
    instance.hauberk("apply", "-f", "-", stdin=DATABASE % {"namespace": namespace})
    instance.until("db-0", "get", "pods", "-n", namespace)
    instance.hauberk("delete", "pod/db-0", "-n", namespace, "--timeout", "5")
    instance.until("db-0", "get", "pods", "-n", namespace)


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
def test_analyze(instance: Instance, namespace: str, tmp_path: Path, strict: bool, code: int) -> None:
    instance.hauberk("analyze", "examples/bank", "--strict")
    rule = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "idle", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "nobody"}}},
    }
    file = tmp_path / "rule.yaml"
    file.write_text(yaml.safe_dump(rule))
    flags = ["--strict"] if strict else []
    report = instance.hauberk("analyze", file, "-o", "json", *flags, code=code).json
    assert report["warnings"] and report["findings"][0]["file"] == str(file)
    instance.hauberk("apply", "-f", file)
    within = instance.hauberk("analyze", "-n", namespace, "-o", "json", *flags, code=code).json
    assert [each["object"] for each in within["findings"]] == [f"AuthorizationPolicy {namespace}/idle"]
    file.write_text(BAD)
    assert "bad" in instance.hauberk("analyze", file, code=2).out


DEFINED = """
apiVersion: GROUP/v1
kind: Gadget
metadata: {name: g, namespace: NAMESPACE}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1}}}
"""


def test_a_definition_and_its_objects_in_one_batch(instance: Instance, namespace: str) -> None:
    text = DEFINED.replace("GROUP", f"{namespace}.example.com").replace("NAMESPACE", namespace)
    wrong = instance.hauberk("apply", "-f", "-", stdin=text.replace("size: 3", "size: 0"), code=2).err
    assert "<stdin>:5" in wrong and "nothing was applied" in wrong
    instance.hauberk("get", f"crd/gadgets.{namespace}.example.com", code=4)
    made = instance.hauberk("apply", "-f", "-", stdin=text).out.splitlines()
    assert (
        made[0].startswith("customresourcedefinition")
        and made[1] == f"gadget.{namespace}.example.com/g created"
    )
    again = instance.hauberk("apply", "-f", "-", stdin=text).out
    assert again.count("unchanged") == 2
    instance.hauberk("delete", "-f", "-", stdin=text)


def watching(instance: Instance, *words: str) -> "subprocess.Popen[str]":
    script = "import sys; from hauberk.cli.__main__ import main; main(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", script, *instance.places, "get", *words, "-w"],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_watch_keeps_its_columns(instance: Instance, namespace: str) -> None:
    make = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{a: b}}\n"
    instance.hauberk("apply", "-f", "-", stdin=make.format(name="a", namespace=namespace))
    with watching(
        instance, "cm", "-n", namespace, "--field-selector", "metadata.name!=kube-root-ca.crt"
    ) as process:
        assert process.stdout
        try:
            lines = [process.stdout.readline(), process.stdout.readline()]
            for name in ("b" * 20, "c"):
                instance.hauberk("apply", "-f", "-", stdin=make.format(name=name, namespace=namespace))
                lines.append(process.stdout.readline())
        finally:
            process.terminate()
    places = [re.search(r"DATA|(?<= )1 ", line) for line in lines]
    columns = [place.start() for place in places if place]
    assert len(columns) == 4 and columns[0] == columns[1] and columns[2] == columns[3], lines


def test_one_object_can_be_watched(instance: Instance, namespace: str) -> None:
    with watching(instance, f"ns/{namespace}") as process:
        assert process.stdout
        try:
            assert process.stdout.readline().split() == ["NAME", "STATUS", "AGE"]
            assert process.stdout.readline().split()[:2] == [namespace, "Active"]
        finally:
            process.terminate()


async def test_a_watch_that_was_forgotten_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The server says 410: what is new since is printed, and nothing twice."""

    def config_map(name: str, version: int) -> dict[str, Any]:
        return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}

    class Forgetful:
        """Remembers nothing the first time, and ends the second."""

        lists: ClassVar = [[config_map("a", 1)], [config_map("a", 1), config_map("b", 3)]]
        watches = 0

        async def list(self, *_: Any, **__: Any) -> ObjectList:
            return ObjectList(self.lists[self.watches], str(2 * self.watches + 1))

        async def watch(self, *_: Any, resource_version: str, **__: Any) -> AsyncIterator[Event]:
            self.watches += 1
            if self.watches == 1:
                assert resource_version == "1"
                raise ApiError(410, "Expired", "too old")
            assert resource_version == "3"
            yield Event("MODIFIED", config_map("a", 4))
            raise ApiError(503, "ServiceUnavailable", "gone")

    with pytest.raises(ApiError, match="gone"):
        await Asked(Forgetful(), "default", "", "").watch(kinds.CONFIG_MAP, "table")  # type: ignore[arg-type]
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["NAME", "a", "b", "a"]
