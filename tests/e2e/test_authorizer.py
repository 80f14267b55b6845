"""examples/authorizer as a mesh: an authorizer of twenty lines is asked about calls between pods."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from instance_testing.instance import TestInstance, instance, wait_until

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["hauberk", "envoy"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestInstance]:
    """The example with the SDK as its README puts it beside."""
    folder = tmp_path / "authorizer"
    shutil.copytree(ROOT / "examples" / "authorizer", folder)
    files = {file.name: file.read_text() for file in (ROOT / "src/hauberk/sdk").glob("*.py")}
    sdk = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hauberk-sdk", "namespace": "shop"},
        "data": files,
    }
    (folder / "sdk.yaml").write_text(yaml.safe_dump(sdk))
    with instance() as found:
        found.said("up", "-d", str(folder), "--proxy", request.param, timeout=180)
        yield found


def curl(shop: TestInstance, path: str, *arguments: str) -> tuple[str, str]:
    """Status and body of a call from the client's pod."""
    command = ("curl", "-s", "-m", "10", "-w", "\n%{http_code}", *arguments, f"http://shop{path}")
    output = shop.said("exec", "-n", "shop", "deploy/client", "--", *command, timeout=30)
    body, _, status = output.rstrip().rpartition("\n")
    return status, body


def test_the_example(shop: TestInstance) -> None:
    anna = ("-H", "authorization: Bearer anna", "-H", "x-user: root")
    wait_until(lambda: curl(shop, "/orders", *anna)[0] == "200", 60, "the authorizer answers")
    body = json.loads(curl(shop, "/orders", *anna)[1])
    assert body["headers"]["x-user"] == "anna", "over what the caller says"
    assert "authorization" not in body["headers"]
    assert curl(shop, "/orders") == ("401", "who are you?")
    berta = ("-H", "authorization: Bearer berta")
    assert curl(shop, "/admin", *berta) == ("403", "berta is no administrator")
    assert curl(shop, "/admin", *anna)[0] == "200"
    assert curl(shop, "/healthz")[0] == "200", "nobody is asked"
    shop.said("delete", "deployment", "authorizer", "-n", "shop")
    wait_until(lambda: curl(shop, "/orders", *anna)[0] == "503", 60, "nobody answers: refused")
    assert curl(shop, "/healthz")[0] == "200"
