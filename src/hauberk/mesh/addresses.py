"""Addresses in Envoy's words."""

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_pb2


def socket_address(address: str, port: int, *, udp: bool = False) -> address_pb2.Address:
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(
            address=address, port_value=port, protocol="UDP" if udp else "TCP"
        )
    )


def everywhere(listener: listener_pb2.Listener, port: int, *, ipv6: bool, udp: bool = False) -> None:
    """Lets a listener listen at a port of all addresses, of both versions of IP or of the first alone."""
    listener.address.CopyFrom(socket_address("0.0.0.0", port, udp=udp))  # noqa: S104
    if ipv6:
        listener.additional_addresses.add(address=socket_address("::", port, udp=udp))
