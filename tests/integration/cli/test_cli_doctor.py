"""``semantik doctor`` as a person types it, and what a command logs as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.cli.conftest import CommandLine


def test_doctor_tells_exit_codes_and_remedies(cli: CommandLine, papers: Path) -> None:
    fresh = cli("doctor", "--json")
    assert fresh.code == 0, fresh.out
    assert fresh.json()["status"] == "ok" and not (cli.data / "ledger.sqlite3").exists()
    cli("index", papers)
    warned = cli("doctor")
    assert warned.code == 3 and "0 broken, 1 warning." in warned.out
    assert "semantik documents retry" in warned.out
    (cli.data / "plugins.json").write_text("{")
    broken = cli("doctor", "--json")
    assert broken.code == 1 and broken.json()["status"] == "broken"
    (state,) = [finding for finding in broken.json()["findings"] if finding["status"] == "broken"]
    assert state["check"] == "plugin state" and state["remedy"]


def test_a_commands_log_is_json_where_that_is_set(cli: CommandLine, papers: Path) -> None:
    """Each document has a line for each stage; what fails is a warning with its document."""
    result = cli("index", papers, "--json", SEMANTIK_LOGS_FORMAT="json", SEMANTIK_LOGS_LEVEL="debug")
    assert result.code == 3, result.err
    lines = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    told = [line for line in lines if str(line.get("document", "")).endswith("leases.md")]
    assert [line["stage"] for line in told if line["level"] == "debug"] == ["sync", "chunk", "embed", "upsert"]
    assert {line["operation"] for line in told} == {1} and len({line["worker"] for line in told}) == 1
    (failed,) = [line for line in lines if "in quarantine" in line["message"]]
    assert failed["level"] == "warning" and failed["document"].endswith("broken.pdf")
    assert not [line for line in lines if line["logger"].startswith(("celery", "kombu"))]
