"""Istio's samples, unchanged but for their images: those cannot be had, and programs of ours stand for them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "istio-samples"
PROGRAMS = Path(__file__).parents[1] / "samples"


def _program(name: str, *arguments: str) -> list[str]:
    """The program as a command of its own: a pod sees the host's system folders, not this one."""
    source = (PROGRAMS / f"{name}.py").read_text()
    return ["/usr/bin/python3", "-u", "-c", source, *arguments]


STAND_INS = {
    "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3": _program("productpage"),
    "registry.istio.io/release/examples-bookinfo-details-v1:1.20.3": _program("details"),
    "registry.istio.io/release/examples-bookinfo-ratings-v1:1.20.3": _program("ratings"),
    "registry.istio.io/release/examples-bookinfo-reviews-v1:1.20.3": _program("reviews", "v1"),
    "registry.istio.io/release/examples-bookinfo-reviews-v2:1.20.3": _program("reviews", "v2"),
    "registry.istio.io/release/examples-bookinfo-reviews-v3:1.20.3": _program("reviews", "v3"),
    "registry.istio.io/release/tcp-echo-server:1.3": _program("tcp_echo"),
    "docker.io/mccutchen/go-httpbin:v2.15.0": [
        "/usr/bin/python3", "-m", "httpbin.core", "--host", "0.0.0.0", "--port", "8080",
    ],
}  # fmt: skip
"""What runs for each image: the command stands before the container's own `args`. httpbin is Debian's, the original."""


def with_stand_ins(file: Path) -> list[dict[str, Any]]:
    """The objects of a sample, each container with `image: host` and a command in place of its image; else unchanged.

    Raises:
        KeyError: an image has no stand-in.
    """
    objects = [each for each in yaml.safe_load_all(file.read_text()) if each]
    for container in _containers(objects):
        container["command"] = STAND_INS[container["image"]]
        container["image"] = "host"
    return objects


def write(objects: list[dict[str, Any]], file: Path) -> None:
    """As one manifest."""
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def _containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in objects:
        if each["kind"] == "Deployment":
            yield from each["spec"]["template"]["spec"]["containers"]
