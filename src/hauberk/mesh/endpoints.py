"""Endpoints of a cluster, by locality."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import struct_pb2

from hauberk.mesh.addresses import socket_address
from hauberk.mesh.destination_rules import Subset
from hauberk.mesh.registry import Endpoint, ServicePort, ServiceView, Workload


def load_assignment(
    name: str, view: ServiceView, port: ServicePort, subset: Subset | None
) -> endpoint_pb2.ClusterLoadAssignment:
    """The ready endpoints of a service port, or of a subset of it, in order of their addresses."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    localities: dict[str, endpoint_components_pb2.LocalityLbEndpoints] = {}
    for endpoint in view.endpoints:
        number = endpoint.port(port.name)
        if number is None or (subset and not _in_subset(endpoint, subset)):
            continue
        if endpoint.zone not in localities:
            localities[endpoint.zone] = assignment.endpoints.add(
                locality=base_pb2.Locality(zone=endpoint.zone), load_balancing_weight={"value": 1}
            )
        _add(localities[endpoint.zone], endpoint, number)
    for locality in assignment.endpoints:
        locality.load_balancing_weight.value = sum(
            one.load_balancing_weight.value for one in locality.lb_endpoints
        )
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
