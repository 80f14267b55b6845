"""IPv4 addresses in Envoy's words."""

from envoy.config.core.v3 import address_pb2


def socket_address(address: str, port: int, *, udp: bool = False) -> address_pb2.Address:
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(
            address=address, port_value=port, protocol="UDP" if udp else "TCP"
        )
    )
