#!/usr/bin/env python3
"""A real Envoy in the proxy's place: started with the proxy's command line and bootstrap."""

import json
import os
import sys
import sysconfig
from pathlib import Path

from hauberk.mesh.envoy_bootstrap import EnvoyBootstrap

ours = json.loads(Path(sys.argv[2]).read_text())
theirs = EnvoyBootstrap(
    node=ours["node"], xds=ours["xds"], admin=ours["admin"], source_address=ours["source_address"]
)
file = Path(sys.argv[2]).with_name("envoy.json")
file.write_text(json.dumps(theirs.to_json()))
envoy = str(Path(sysconfig.get_path("scripts")) / "envoy")
os.execv(
    envoy,
    [
        envoy,
        "-c",
        str(file),
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "-l",
        "warning",
        "--drain-time-s",
        "1",
    ],
)
