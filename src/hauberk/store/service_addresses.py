"""Addresses of Services: claimed in the same transaction that creates the Service.

Each claimed address is an object of the store's own under its number, created with the Service and
deleted with it, so that two Services cannot have one address, whichever process creates them.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store import status
from hauberk.store.database import Key
from hauberk.store.storage import Erase, Step, Storage, Write

RESOURCE = "serviceaddresses.store.hauberk.io"
TRIES = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """The addresses of `network` and `network6`; the ends of each, and those `reserved`, are given to nobody."""

    storage: Storage
    network: IPv4Network
    reserved: frozenset[Address] = frozenset()
    network6: IPv6Network | None = None
    """None where there is no IPv6."""

    def claim(self, kind: Kind, new: Object, old: Object | None) -> list[Step]:
        """Give `new` its addresses, in place, and return what must be written with it.

        A Service has an address in each of its `ipFamilies`; the first stays for its life, the second may come and go
        with `ipFamilyPolicy`. Raises `ApiError` 422 if it asks for an address or a family that it cannot have, 500 if
        no address is free.
        """
        if (kind.group, kind.plural) != ("", "services"):
            return []
        spec = new.setdefault("spec", {})
        before = (old or {}).get("spec") or {}
        had = [each for each in _addresses(before) if each != "None"]
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return self._release(had)
        if before.get("type") == "ExternalName":
            before = {}
        asked = _addresses(spec)
        stayed = _addresses(before)[:1]
        if stayed and asked and asked[0] != stayed[0]:
            raise self._invalid(kind, new, asked[0], "field is immutable")
        if not asked and stayed == ["None"]:
            asked = stayed
        families = self._families(kind, new, before, [each for each in asked if each != "None"])
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if asked[:1] == ["None"]:
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return []
        addresses, steps = [], []
        for index, family in enumerate(families):
            wanted = [*asked, *had]
            address = next((each for each in wanted if _family(each) == family), None)
            if address is None or address not in had:
                address = self._asked(kind, new, address, index) if address else self._free(family)
                steps.append(self._write(new, address))
            addresses.append(address)
        spec["clusterIP"], spec["clusterIPs"] = addresses[0], addresses
        return steps + self._release([each for each in had if each not in addresses])

    def release(self, kind: Kind, obj: Object) -> list[Step]:
        """What must be written with the deletion of `obj`."""
        if (kind.group, kind.plural) != ("", "services"):
            return []
        return self._release(_addresses(obj.get("spec") or {}))

    def _release(self, addresses: Sequence[str]) -> list[Step]:
        stored = (self.storage.get(_key(address)) for address in addresses)
        return [Erase(each.object, each) for each in stored if each]

    def _families(self, kind: Kind, new: Object, before: Object, asked: Sequence[str]) -> list[str]:
        """In order; also written into `new`, with the policy (core/v1 ServiceSpec, `ipFamilyPolicy`)."""
        spec = new["spec"]
        told: list[str] = spec.get("ipFamilies") or []
        policy = spec.get("ipFamilyPolicy") or before.get("ipFamilyPolicy")
        if not policy or (policy == "SingleStack" and not spec.get("ipFamilyPolicy") and len(told) > 1):
            policy = "RequireDualStack" if len(told) > 1 or len(asked) > 1 else "SingleStack"
        families = told or [_family(each) for each in asked] or before.get("ipFamilies") or ["IPv4"]
        if before.get("ipFamilies") and families[0] != before["ipFamilies"][0]:
            raise self._refused(
                kind, new, "spec.ipFamilies[0]", f'Invalid value: "{families[0]}": field is immutable'
            )
        for index, family in enumerate(families):
            if family == "IPv6" and self.network6 is None:
                message = 'Invalid value: "IPv6": not configured on this cluster'
                raise self._refused(kind, new, f"spec.ipFamilies[{index}]", message)
        if policy == "SingleStack":
            families = families[:1]
        elif len(families) == 1 and self.network6 is not None:
            families = [*families, "IPv6" if families[0] == "IPv4" else "IPv4"]
        elif len(families) == 1 and policy == "RequireDualStack":
            message = (
                'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
            )
            raise self._refused(kind, new, "spec.ipFamilyPolicy", message)
        for each in asked:
            if _family(each) not in families:
                raise self._invalid(kind, new, each, f"expected an address of {' and '.join(families)}")
        spec["ipFamilies"], spec["ipFamilyPolicy"] = families, policy
        return families

    def _asked(self, kind: Kind, new: Object, wanted: str, index: int) -> str:
        address = ip_address(wanted)
        network = self._network(_family(wanted))
        if not self._usable(address, network):
            raise self._invalid(
                kind, new, wanted, f"the provided IP is not in the valid range {network}", index
            )
        if self.storage.get(_key(wanted)) is not None:
            raise self._invalid(kind, new, wanted, "provided IP is already allocated", index)
        return wanted

    def _free(self, family: str) -> str:
        network = self._network(family)
        for address in _candidates(network):
            if self._usable(address, network) and self.storage.get(_key(str(address))) is None:
                return str(address)
        raise status.internal(
            f"no address of {network} is free for a Service; delete one, or widen the range"
        )

    def _network(self, family: str) -> Network:
        return self.network6 if family == "IPv6" and self.network6 is not None else self.network

    def _usable(self, address: Address, network: Network) -> bool:
        ends = {network.network_address, network.broadcast_address}
        return address in network and address not in ends and address not in self.reserved

    def _write(self, new: Object, address: str) -> Step:
        service = {"namespace": new["metadata"]["namespace"], "name": new["metadata"]["name"]}
        return Write(_key(address), {"metadata": {"name": address}, "service": service}, None)

    def _invalid(self, kind: Kind, new: Object, wanted: str, why: str, index: int = 0) -> Exception:
        return self._refused(kind, new, f"spec.clusterIPs[{index}]", f'Invalid value: "{wanted}": {why}')

    def _refused(self, kind: Kind, new: Object, field: str, message: str) -> Exception:
        return status.invalid(kind, str(new["metadata"].get("name", "")), [FieldError(field, message)])


def _addresses(spec: dict[str, Any]) -> list[str]:
    """What a Service says of its addresses, each in its canonical form, the first one first."""
    told = spec.get("clusterIPs") or [spec.get("clusterIP")]
    first = spec.get("clusterIP") or told[0]
    return [_canonical(each) for each in (first, *told[1:]) if each]


def _canonical(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return text  # "None"; admission lets in nothing else


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _candidates(network: Network) -> Iterator[Address]:
    for _ in range(TRIES):
        yield network[secrets.randbelow(network.num_addresses)]
    yield from network.hosts()


def _key(address: str) -> Key:
    return Key(RESOURCE, "", address)
