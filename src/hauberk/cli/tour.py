"""A tour: what `hauberk up DIR` does once everything runs, if DIR holds a `tour.yaml`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

FILE_NAME = "tour.yaml"


class MalformedTourError(Exception):
    """`tour.yaml` is not what it should be; the message names the field."""


class Drive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests through the gateway, `repeat` times, each answered with status `expect`."""

    say: str
    path: str
    host: str
    method: str = "GET"
    repeat: int = 1
    expect: int = 200
    json: dict[str, Any] | None = None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to explain: the newest from `source` to `destination` (NAMESPACE/WORKLOAD) with that verdict."""

    say: str
    source: str
    destination: str
    verdict: str = "allow"


class Tour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of a tour. `gateway` is the NAMESPACE/SERVICE that the requests go to."""

    gateway: str
    requests: list[Drive] = []
    why: list[Question] = []
    try_: list[str] = msgspec.field(default_factory=list, name="try")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one `Drive`: how many answered as expected, and the first that did not."""

    drive: Drive
    good: int
    surprise: str = ""

    @property
    def ok(self) -> bool:
        return self.good == self.drive.repeat


def read_tour(directory: Path) -> Tour | None:
    """The tour of a directory of manifests, or None if it has none.

    Raises:
        MalformedTourError: there is one and it is malformed.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        return None
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), Tour)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise MalformedTourError(f"{path}: {error}") from error
