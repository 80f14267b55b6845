"""Where the Rust binaries are: beside this interpreter's scripts, as a wheel installs them."""

import os
import sysconfig
from pathlib import Path


class BinaryNotFoundError(Exception):
    """A program that Hauberk needs is not installed; the message says which and how to get it."""


def find(name: str) -> Path:
    """The path of the Hauberk binary `name` (`hauberk-proxy`, `hauberk-sandbox`).

    Raises:
        BinaryNotFoundError: it is not in the scripts folder of this Python environment.
    """
    path = Path(sysconfig.get_path("scripts")) / name
    if not os.access(path, os.X_OK):
        raise BinaryNotFoundError(
            f"{name}: expected at {path}, found nothing executable there; "
            "install it with `pip install hauberk-dataplane`, or in a source tree with `make build`"
        )
    return path
