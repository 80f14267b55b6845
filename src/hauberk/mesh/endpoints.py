"""Endpoints of a cluster, by locality."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import struct_pb2

from hauberk.mesh.addresses import socket_address
from hauberk.mesh.destination_rules import Subset, TrafficPolicy
from hauberk.mesh.locality import Caller, groups, settings_of
from hauberk.mesh.registry import Endpoint, ServicePort, ServiceView, Workload


def load_assignment(
    name: str,
    view: ServiceView,
    port: ServicePort,
    subset: Subset | None,
    policy: TrafficPolicy,
    caller: Caller | None,
) -> endpoint_pb2.ClusterLoadAssignment:
    """The ready endpoints of a service port, or of a subset of it, by place and in order of their addresses."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    chosen = (
        one
        for one in view.endpoints
        if one.port(port.name) is not None and (subset is None or _in_subset(one, subset))
    )
    settings, judged = settings_of(policy.load_balancer), policy.fails_over
    for group in groups(chosen, settings, caller, failover=judged):
        place = group.locality
        locality = assignment.endpoints.add(
            locality=base_pb2.Locality(region=place.region, zone=place.zone, sub_zone=place.subzone),
            load_balancing_weight={"value": group.weight},
            priority=group.priority,
        )
        for endpoint in group.endpoints:
            _add(locality, endpoint, endpoint.port(port.name) or 0)
    return assignment


def _in_subset(endpoint: Endpoint, subset: Subset) -> bool:
    return endpoint.workload is not None and subset.labels.matches(endpoint.workload.labels)


def _add(locality: endpoint_components_pb2.LocalityLbEndpoints, endpoint: Endpoint, number: int) -> None:
    added = locality.lb_endpoints.add(load_balancing_weight={"value": endpoint.weight})
    added.endpoint.address.CopyFrom(socket_address(endpoint.address, number))
    if endpoint.workload is None:
        return
    fields = added.metadata.filter_metadata
    fields["istio"].fields["workload"].CopyFrom(struct_pb2.Value(string_value=describe(endpoint.workload)))
    if endpoint.workload.meshed:
        mode = struct_pb2.Value(string_value="istio")
        fields["envoy.transport_socket_match"].fields["tlsMode"].CopyFrom(mode)


def describe(workload: Workload) -> str:
    """`NAME;NAMESPACE;APP;VERSION;CLUSTER`, as Istio's telemetry reads it."""
    labels = workload.labels
    return ";".join(
        (workload.name, workload.namespace, labels.get("app"), labels.get("version"), "Kubernetes")
    )
