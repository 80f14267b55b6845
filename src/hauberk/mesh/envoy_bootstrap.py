"""The bootstrap with which a real Envoy takes our proxy's place over the same `xds.sock`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hauberk.mesh.tls import XDS_CLUSTER

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SOL_IP, _IP_TRANSPARENT = 0, 19
_SOL_SOCKET, _SO_MARK = 1, 36


@dataclass(frozen=True, slots=True)
class EnvoyBootstrap:
    """What a real Envoy starts from. `node` is the `node` of our own proxy's bootstrap.

    `source_address` and `upstream_mark` are what upstream connections are bound to in a gate; without an address
    they are left to the kernel.
    """

    node: dict[str, Any]
    xds: str
    """Path of `xds.sock`."""
    admin: str
    """Path of a Unix socket, or `127.0.0.1:PORT`."""
    source_address: str = ""
    other_source_address: str = ""
    """The same for endpoints of the other version of IP."""
    upstream_mark: int = 2
    delta: bool = True

    def to_json(self) -> dict[str, Any]:
        """The bootstrap as Envoy reads it from a file."""
        bootstrap: dict[str, Any] = {
            "node": self.node,
            "admin": {"address": _address(self.admin)},
            "dynamic_resources": {
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "ads_config": {
                    "api_type": "DELTA_GRPC" if self.delta else "GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": True,
                    "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
                },
            },
            "static_resources": {"clusters": [self._xds_cluster()]},
            "stats_config": {"use_all_default_tags": True},
        }
        if self.source_address:
            bootstrap["cluster_manager"] = {"upstream_bind_config": self._bind()}
        return bootstrap

    def _xds_cluster(self) -> dict[str, Any]:
        return {
            "name": XDS_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                _HTTP_OPTIONS: {
                    "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "load_assignment": {
                "cluster_name": XDS_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": self.xds}}}}]}],
            },
        }

    def _bind(self) -> dict[str, Any]:
        other = {"address": {"address": self.other_source_address, "port_value": 0}}
        return {
            **({"extra_source_addresses": [other]} if self.other_source_address else {}),
            "source_address": {"address": self.source_address, "port_value": 0},
            "socket_options": [
                {"level": _SOL_IP, "name": _IP_TRANSPARENT, "int_value": 1, "state": "STATE_PREBIND"},
                {
                    "level": _SOL_SOCKET,
                    "name": _SO_MARK,
                    "int_value": self.upstream_mark,
                    "state": "STATE_PREBIND",
                },
            ],
        }


def _address(where: str) -> dict[str, Any]:
    if where.startswith("/"):
        return {"pipe": {"path": where}}
    host, _, port = where.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
