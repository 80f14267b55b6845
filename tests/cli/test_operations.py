"""Verbs that show how things are, the help of all verbs, exit codes, and errors that say what to do."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from hauberk.cli import bug_report
from hauberk.cli.__main__ import VERBS
from hauberk.cli.errors import CommandError
from hauberk.cli.machine import check_machine
from hauberk.cli.output import GOOD, print_table, styled
from hauberk.cli.reference import commands
from hauberk.cli.remote_command import exit_code
from hauberk.model import kinds

Instance = Any
"""conftest's; a conftest cannot be imported by name here."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(instance: Instance, verb: str) -> None:
    shown = instance.hauberk(verb, "--help").out
    assert "Examples:" in shown and f"Usage: hauberk {verb}" in shown


def test_help_names_the_verbs_and_exit_codes_and_loads_no_verb() -> None:
    script = "import sys; from hauberk.cli.__main__ import main\n"
    script += "try: main(['--help'])\nexcept SystemExit: print([m for m in sys.modules if 'cli.verbs.' in m])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30).stdout
    assert shown.rstrip().endswith("[]") and "Exit codes:" in shown
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_the_reference_is_current() -> None:
    expected = Path("docs/reference/commands.md").read_text()
    assert commands() == expected, (
        "write it anew: python -m hauberk.cli.reference > docs/reference/commands.md"
    )


def test_status_says_what_is_not_well(instance: Instance) -> None:
    lines = {line["part"]: line for line in instance.hauberk("status", "-o", "json", code=1).json}
    assert lines["control plane"]["well"] and lines["certificate"]["says"].startswith("expires in")
    assert not lines["node"]["well"] and lines["node"]["remedy"]
    assert "not well" in instance.hauberk("status", code=1).out


def test_proxy_status_and_version(instance: Instance) -> None:
    assert instance.hauberk("proxy-status", "-o", "json").json == {"proxies": [], "refused": []}
    found = instance.hauberk("version", "-o", "json").json
    assert found["server"].startswith("v1.") and found["client"]
    assert instance.hauberk("version", "--client").out == f"client: {found['client']}\n"


def test_the_version_of_the_client_needs_no_server(instance: Instance, tmp_path: Path) -> None:
    alone = instance.hauberk("--state", tmp_path, "version", code=3)
    assert alone.out == instance.hauberk("version", "--client").out and "hauberk up" in alone.err
    assert set(instance.hauberk("--state", tmp_path, "version", "-o", "json", code=3).json) == {"client"}


def test_who_cannot_be_reached_is_exit_code_3(instance: Instance, tmp_path: Path) -> None:
    none = instance.hauberk("--state", tmp_path, "get", "pods", code=3)
    assert "expected a kubeconfig" in none.err and "hauberk up" in none.err
    config = yaml.safe_load((instance.state / "admin.kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    file = tmp_path / "away.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    away = instance.hauberk("--kubeconfig", file, "get", "pods", code=3)
    assert "127.0.0.1:9 cannot be reached" in away.err and "hauberk status" in away.err
    instance.hauberk("--kubeconfig", file, "status", code=3)


def test_refused_is_exit_code_4_and_a_wrong_command_line_2(instance: Instance, tmp_path: Path) -> None:
    assert "hauberk get KIND" in instance.hauberk("get", "pod/absent", code=4).err
    assert "expected one that the API serves" in instance.hauberk("get", "nothing", code=2).err
    instance.hauberk("frobnicate", code=2)
    instance.hauberk("--instance", "UPPER", "get", "pods", code=2)
    file = tmp_path / "kubeconfig"
    file.write_text("{}")
    assert "expected a kubeconfig" in instance.hauberk("--kubeconfig", file, "get", "pods", code=2).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(instance: Instance, shell: str) -> None:
    assert "_HAUBERK_COMPLETE" in instance.hauberk("completion", shell).out


def test_a_narrow_terminal_shows_whole_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_table(("NAME", "IDENTITY"), [("a" * 30, styled("b" * 50, GOOD)), ("c", "d")])
    shown = capsys.readouterr().out
    assert "a" * 30 in shown and "b" * 50 in shown and "\x1b[32m" in shown
    assert len(shown.splitlines()) == 3


def offered(instance: Instance, *words: str, shell: str = "bash") -> set[str]:
    """What a shell offers after these words, the last of which is being typed."""
    line = ["hauberk", *instance.places, *words]
    environment = {
        "_HAUBERK_COMPLETE": f"{shell}_complete",
        "PATH": "/usr/bin:/bin",
        "HOME": str(instance.folder),
    }
    if shell == "fish":
        environment |= {"COMP_WORDS": " ".join(line[:-1]), "COMP_CWORD": line[-1]}
    else:
        environment |= {"COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    program = [sys.executable, "-m", "hauberk.cli"]
    script = "import sys; from hauberk.cli.__main__ import main; sys.argv = ['hauberk']; main()"
    done = subprocess.run(
        [program[0], "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.stderr
    if shell == "zsh":
        lines = done.stdout.split("\n")
        return {value for type_, value in zip(lines[::3], lines[1::3], strict=False) if type_ == "plain"}
    return {line.partition(",")[2].partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_what_there_is(instance: Instance, namespace: str, shell: str) -> None:
    instance.hauberk("apply", "-f", "-", stdin=CONFIG_MAP.format(namespace=namespace))
    assert offered(instance, "get", "configm", shell=shell) == {"configmaps"}
    assert "mine" in offered(instance, "get", "-n", namespace, "cm", "m", shell=shell)
    assert offered(instance, "describe", "-n", namespace, "cm/mi", shell=shell) == {"cm/mine"}
    assert offered(instance, "get", "cm", "-n", namespace[:-1], shell=shell) == {namespace}


def test_completion_is_silent_where_there_is_nothing(instance: Instance) -> None:
    assert offered(instance, "--state", "/nowhere", "get", "cm", "m") == set()
    assert "proxy-config" in offered(instance, "proxy-")


CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: mine, namespace: {namespace}}}
"""


@pytest.mark.parametrize("words", ["version", "get cm -A", "get cm -A -o yaml", "check", "completion bash"])
def test_a_reader_who_has_gone_is_exit_code_141(instance: Instance, words: str) -> None:
    script = "import sys; from hauberk.cli.__main__ import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, *instance.places, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_logs_and_exec_of_a_pod_on_no_node_are_refused(instance: Instance, namespace: str) -> None:
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "host", "command": ["/bin/true"]}]},
    }  # fmt: skip
    instance.hauberk("apply", "-f", "-", stdin=yaml.safe_dump(pod))
    assert "host assigned" in instance.hauberk("logs", "p", "-n", namespace, code=4).err
    instance.hauberk("exec", "p", "-n", namespace, "--", "id", code=4)
    assert "expected one of c" in instance.hauberk("logs", "p", "-n", namespace, "-c", "x", code=2).err
    assert "not on a node" in instance.hauberk("proxy-config", "p", "-n", namespace, code=1).err
    shown = instance.hauberk("describe", "pod/p", "-n", namespace).out
    assert "<not scheduled>" in shown and "state: not started" in shown


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}, 7),
    ],
)
def test_the_exit_code_of_a_remote_command(outcome: dict[str, Any], code: int) -> None:
    assert exit_code(json.dumps(outcome).encode()) == code


def test_a_remote_command_that_was_not_run() -> None:
    with pytest.raises(CommandError, match="no such program"):
        exit_code(b'{"status": "Failure", "message": "no such program"}')


def test_backup_and_restore(instance: Instance, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "all.backup"
    assert "keep" in instance.hauberk("backup", file).out
    assert "hauberk down" in instance.hauberk("restore", file, code=1).err
    instance.hauberk("--state", tmp_path / "copy", "restore", file)
    assert (tmp_path / "copy" / "hauberk.db").is_file()
    assert "no backup was made" in instance.hauberk("--state", tmp_path / "none", "backup", file, code=1).err


def test_a_bug_report_holds_no_secret(instance: Instance, namespace: str, tmp_path: Path) -> None:
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\n"
    secret += "stringData: {key: hunter2}\n"
    instance.hauberk("apply", "-f", "-", stdin=secret)
    file = tmp_path / "report.tar.gz"
    assert "objects/secrets.json" in instance.hauberk("bug-report", file).out
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert {"report/check.json", "report/status.json", "report/proxy-status.json"} <= set(files)
    everything = b"".join(files.values())
    assert namespace.encode() in everything
    assert b"hunter2" not in everything and b"aHVudGVyMg" not in everything
    assert "cannot be written" in instance.hauberk("bug-report", file, code=1).err


def test_a_bug_report_leaves_out_what_slipped_into_other_places(tmp_path: Path) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"env": [{"name": "A", "value": "hunter2"}]}]}}
    shown = bug_report.as_json(bug_report.without_secrets(kinds.POD, pod))
    key = b"-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----"
    log = b"--password=hunter2 Bearer hunter2 redis://u:hunter2@host " + key + b" after"
    bug_report.write(tmp_path / "r.tar.gz", {"pod": shown, "log": log})
    with tarfile.open(tmp_path / "r.tar.gz") as archive:
        written = b"".join(archive.extractfile(entry).read() for entry in archive)  # type: ignore[union-attr]
    assert b"hunter2" not in written and b"after" in written


def test_check_gives_a_remedy_for_whatever_is_not_well(instance: Instance) -> None:
    found = check_machine()
    assert {"root", "kernel", "namespaces", "seccomp", "kvm", "hauberk-proxy"} <= {
        each.name for each in found
    }
    assert all(each.remedy for each in found if each.level != "ok")
    failed = any(each.level == "fail" for each in found)
    assert len(instance.hauberk("check", "-o", "json", code=int(failed)).json) == len(found)
