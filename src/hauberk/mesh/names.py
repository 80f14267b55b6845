"""Names: the table from which each proxy answers its pod's DNS queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.listener.v3 import listener_pb2
from envoy.data.dns.v3 import dns_table_pb2
from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2
from google.protobuf import duration_pb2

from hauberk.mesh.addresses import everywhere
from hauberk.mesh.listeners import NO_POLICY, metadata
from hauberk.mesh.registry import ServiceView
from hauberk.mesh.tls import packed

DNS_PORT = 15053
ANSWER_SECONDS = 30
"""The least that Envoy takes."""


def dns_names(views: Iterable[ServiceView]) -> dict[str, tuple[str, ...]]:
    """Full names → addresses: of services, and of the pods behind a headless one that have names too.

    The names of Services, and of their pods, come before those of ServiceEntries. An alias has the addresses of the
    name that it stands for, if that is in the table: calls to it go where calls to that name do.
    """
    table: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, str] = {}
    for view in sorted(views, key=lambda view: view.service.entry is not None):
        if view.service.alias:
            aliases[view.service.host] = view.service.alias
            continue
        addresses = view.addresses
        if addresses:
            table.setdefault(view.service.host, addresses)
        if not view.service.headless:
            continue
        for endpoint in view.endpoints:
            if endpoint.hostname and endpoint.address in addresses:
                table[f"{endpoint.hostname}.{view.service.host}"] = (endpoint.address,)
    found = {host: table[name] for host in aliases if (name := _followed(host, aliases)) in table}
    return table | found


def _followed(host: str, aliases: Mapping[str, str]) -> str:
    """The name at the end of aliases of aliases; empty for a circle."""
    seen = {host}
    while (host := aliases[host]) in aliases:
        if host in seen:
            return ""
        seen.add(host)
    return host


def dns_listener(table: dict[str, tuple[str, ...]], *, ipv6: bool = False) -> listener_pb2.Listener:
    """The UDP listener that the gate leads the pod's port 53 to. What is not in the table does not exist."""
    domains = [
        dns_table_pb2.DnsTable.DnsVirtualDomain(
            name=name,
            endpoint=dns_table_pb2.DnsTable.DnsEndpoint(
                address_list=dns_table_pb2.DnsTable.AddressList(address=addresses)
            ),
            answer_ttl=duration_pb2.Duration(seconds=ANSWER_SECONDS),
        )
        for name, addresses in sorted(table.items())
    ]
    config = dns_filter_pb2.DnsFilterConfig(
        stat_prefix="dns",
        server_config=dns_filter_pb2.DnsFilterConfig.ServerContextConfig(
            inline_dns_table=dns_table_pb2.DnsTable(virtual_domains=domains)
        ),
    )
    listener = listener_pb2.Listener(
        name="dns",
        traffic_direction="OUTBOUND",
        listener_filters=[
            {"name": "envoy.filters.udp.dns_filter", "typed_config": packed(config)},
        ],
        metadata={"filter_metadata": {"hauberk.io": metadata(NO_POLICY, "")}},
    )
    everywhere(listener, DNS_PORT, ipv6=ipv6, udp=True)
    return listener
