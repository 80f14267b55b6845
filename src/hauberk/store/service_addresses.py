"""Addresses of Services: claimed in the same transaction that creates the Service.

Each claimed address is an object of the store's own under its number, created with the Service and
deleted with it, so that two Services cannot have one address, whichever process creates them.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store import status
from hauberk.store.database import Key
from hauberk.store.storage import Erase, Step, Storage, Write

RESOURCE = "serviceaddresses.store.hauberk.io"
TRIES = 64


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """The addresses of `network`; its first and last, and those `reserved`, are given to nobody."""

    storage: Storage
    network: IPv4Network
    reserved: frozenset[IPv4Address] = frozenset()

    def claim(self, kind: Kind, new: Object, old: Object | None) -> list[Step]:
        """Give `new` its address, in place, and return what must be written with it.

        Raises `ApiError` 422 if it asks for an address that it cannot have, 500 if none is free.
        """
        if (kind.group, kind.plural) != ("", "services"):
            return []
        spec = new.setdefault("spec", {})
        had = ((old or {}).get("spec") or {}).get("clusterIP")
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs"):
                spec.pop(field, None)
            return self._release(had)
        wanted = spec.get("clusterIP") or (spec.get("clusterIPs") or [None])[0] or had
        if had and wanted != had and (old or {}).get("spec", {}).get("type") != "ExternalName":
            raise self._invalid(kind, new, str(wanted), "field is immutable")
        if wanted == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return []
        address = had or (self._asked(kind, new, wanted) if wanted else self._free())
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if had:
            return []
        service = {"namespace": new["metadata"]["namespace"], "name": new["metadata"]["name"]}
        return [Write(_key(address), {"metadata": {"name": address}, "service": service}, None)]

    def release(self, kind: Kind, obj: Object) -> list[Step]:
        """What must be written with the deletion of `obj`."""
        if (kind.group, kind.plural) != ("", "services"):
            return []
        return self._release((obj.get("spec") or {}).get("clusterIP"))

    def _release(self, address: str | None) -> list[Step]:
        stored = self.storage.get(_key(address)) if address else None
        return [Erase(stored.object, stored)] if stored else []

    def _asked(self, kind: Kind, new: Object, wanted: str) -> str:
        try:
            address = IPv4Address(wanted)
        except ValueError as error:
            raise self._invalid(
                kind, new, wanted, f"must be an IPv4 address of {self.network}, or None"
            ) from error
        if not self._usable(address):
            raise self._invalid(
                kind, new, wanted, f"the provided IP is not in the valid range {self.network}"
            )
        if self.storage.get(_key(wanted)) is not None:
            raise self._invalid(kind, new, wanted, "provided IP is already allocated")
        return wanted

    def _free(self) -> str:
        for address in self._candidates():
            if self._usable(address) and self.storage.get(_key(str(address))) is None:
                return str(address)
        raise status.internal(
            f"no address of {self.network} is free for a Service; delete one, or widen the range"
        )

    def _candidates(self) -> Iterator[IPv4Address]:
        for _ in range(TRIES):
            yield self.network[secrets.randbelow(self.network.num_addresses)]
        yield from self.network.hosts()

    def _usable(self, address: IPv4Address) -> bool:
        ends = {self.network.network_address, self.network.broadcast_address}
        return address in self.network and address not in ends and address not in self.reserved

    def _invalid(self, kind: Kind, new: Object, wanted: str, why: str) -> Exception:
        error = FieldError("spec.clusterIPs[0]", f'Invalid value: "{wanted}": {why}')
        return status.invalid(kind, str(new["metadata"].get("name", "")), [error])


def _key(address: str) -> Key:
    return Key(RESOURCE, "", address)
