"""The demonstration: `hauberk up examples/bank`, without a terminal."""

import subprocess
from pathlib import Path

import pytest
from instance_testing.instance import instance
from instance_testing.machine import traces

BANK = Path(__file__).parents[2] / "examples" / "bank"

pytestmark = pytest.mark.root


def test_the_bank_runs_takes_its_tour_and_leaves_nothing_behind() -> None:
    with instance() as bank:
        before = traces(bank)
        assert not any(before.values()), before
        running = subprocess.Popen(
            bank.command("up", str(BANK)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        most: dict[str, list[str]] = {}
        while running.poll() is None:
            try:
                running.wait(timeout=1)
            except subprocess.TimeoutExpired:
                most |= {kind: found for kind, found in traces(bank).items() if found}
        said, progress = running.communicate()

        assert running.returncode == 0, f"{said}\n{progress}"
        assert "alice pays bob: 40 of 40 answered 201" in said
        assert "bob pays carol: 20 of 20 answered 201" in said
        assert "alice reads her statement, streamed: 5 of 5 answered 200" in said
        chains = [line for line in said.splitlines() if line.startswith(("ALLOWED", "REFUSED"))]
        assert [chain.split()[0] for chain in chains] == ["ALLOWED", "REFUSED"], said
        assert "spiffe://cluster.local/ns/bank/sa/web to ledger.bank.svc.cluster.local:9000" in chains[0]
        assert (
            "spiffe://cluster.local/ns/elsewhere/sa/stranger to web.bank.svc.cluster.local:8000" in chains[1]
        )
        assert "\x1b[" not in said, "no colours where there is no terminal"

        assert {"network namespaces", "links", "processes"} <= most.keys(), (
            "the comparison must have seen it run"
        )
        after = traces(bank)
        assert not any(after.values()), after
