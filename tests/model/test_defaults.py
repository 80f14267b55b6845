"""What the API fills in."""

import base64
import copy
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from hauberk.model import kinds
from hauberk.model.acceptance import accept
from hauberk.model.kind import Kind


def accepted(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    assert accept(kind, obj) == []
    return obj


def template(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "a", "image": "host"}], **spec},
    }


def test_pod() -> None:
    probe = {"httpGet": {"port": 80}}
    pod = {"metadata": {"name": "x"}, "spec": template()["spec"]}
    pod["spec"]["containers"][0] |= {"readinessProbe": probe, "ports": [{"containerPort": 80}]}
    pod["spec"]["volumes"] = [{"name": "scratch"}, {"name": "settings", "configMap": {"name": "c"}}]
    spec = accepted(kinds.POD, pod)["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    container = spec["containers"][0]
    assert container["ports"][0]["protocol"] == "TCP"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert spec["volumes"][0]["emptyDir"] == {}
    assert spec["volumes"][1]["configMap"]["defaultMode"] == 0o644


def test_deployment() -> None:
    obj = {
        "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template()},
    }
    spec = accepted(kinds.DEPLOYMENT, obj)["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert "serviceAccountName" not in spec["template"]["spec"]


def test_stateful_set() -> None:
    obj = {
        "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template()},
    }
    spec = accepted(kinds.STATEFUL_SET, obj)["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}


def test_job() -> None:
    obj = {"metadata": {"name": "x"}, "spec": {"template": template(restartPolicy="Never")}}
    spec = accepted(kinds.JOB, obj)["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (6, 1, 1)


def test_service() -> None:
    obj = {"metadata": {"name": "x"}, "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}}
    spec = accepted(kinds.SERVICE, obj)["spec"]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")
    assert spec["ports"] == [{"port": 80, "targetPort": 80, "protocol": "TCP"}]


def test_network_policy() -> None:
    obj = {"metadata": {"name": "x"}, "spec": {"podSelector": {}, "egress": [{"ports": [{"port": 80}]}]}}
    spec = accepted(kinds.NETWORK_POLICY, obj)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [{"ports": [{"port": 80, "protocol": "TCP"}]}]
    assert accepted(kinds.NETWORK_POLICY, {"metadata": {"name": "x"}, "spec": {"podSelector": {}}})["spec"][
        "policyTypes"
    ] == ["Ingress"]


def test_secret_text_becomes_data() -> None:
    obj = accepted(kinds.SECRET, {"metadata": {"name": "x"}, "stringData": {"a": "ü"}, "data": {"b": "Yg=="}})
    assert obj["data"] == {"a": base64.b64encode("ü".encode()).decode(), "b": "Yg=="}
    assert "stringData" not in obj
    assert obj["type"] == "Opaque"


def test_http_route() -> None:
    rule = {"backendRefs": [{"name": "web", "port": 80}]}
    spec = accepted(kinds.HTTP_ROUTE, {"metadata": {"name": "x"}, "spec": {"rules": [rule]}})["spec"]
    assert spec["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert spec["rules"][0]["backendRefs"][0]["weight"] == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["spec", "metadata", "template", "containers", "ports", "name", "volumes", "rules", "status"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "data", "rules", "endpoints"]), JSON))
@settings(max_examples=60, deadline=None)
def test_malformed_objects_are_told_and_break_nothing(obj: dict[str, Any]) -> None:
    for kind in kinds.ALL:
        kind.default(copy.deepcopy(obj))
        accept(kind, copy.deepcopy(obj))
        if isinstance(obj.get("metadata") or {}, dict):
            kind.admit(copy.deepcopy(obj), None)


def test_defaults_change_nothing_the_second_time() -> None:
    obj = {
        "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template()},
    }
    for kind in (kinds.DEPLOYMENT, kinds.STATEFUL_SET):
        once = accepted(kind, copy.deepcopy(obj))
        twice = accepted(kind, copy.deepcopy(once))
        assert once == twice
