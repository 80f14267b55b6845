"""Which chain of a listener has which TLS server name: each name the first that asks for it, and no other.

An Envoy refuses a listener with two chains for one name, and then keeps what it had before, for everybody: without
this, an object of one namespace could hold up a gateway that others share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

_log = logging.getLogger(__name__)


class ServerNames:
    """The names of one port. `*` is any name."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._owners: dict[str, str] = {}

    def is_given(self, name: str) -> bool:
        return name in self._owners

    def give(self, names: Iterable[str], owner: str) -> list[str]:
        """Those of the names that nobody has yet; `owner` is who asks, in the words of messages."""
        given = []
        for name in names:
            if "*" in name and name != "*" and not name.startswith("*."):
                self._refuse(owner, name, "a wildcard stands for whole labels: *.DOMAIN")
            elif name in self._owners:
                if self._owners[name] != owner:
                    self._refuse(owner, name, f"{self._owners[name]} has it")
            else:
                self._owners[name] = owner
                given.append(name)
        return given

    def _refuse(self, owner: str, name: str, why: str) -> None:
        _log.warning("mesh: port %d: %s does not get the server name %s: %s", self._port, owner, name, why)
