"""``semantik keys``, and whom a source's documents are open to, as a person types them."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.conftest import CommandLine


def test_the_life_of_a_key(cli: CommandLine) -> None:
    made = cli("keys", "create", "ci", "--role", "writer", "--collection", "a", "--expires", "90d", "--json").json()
    assert made["key"].startswith("sk_")
    assert (made["role"], made["collections"], made["principals"], made["state"]) == ("writer", ["a"], None, "valid")
    assert 89 * 86400 < made["expires_at"] - made["created_at"] <= 90 * 86400
    shown = cli("keys", "create", "anna", "--principal", "anna", "--principal", "sales").out
    assert shown.startswith("sk_") and "anna, sales" in shown and "not shown again" in shown
    again = cli("keys", "create", "ci")
    assert (again.code, again.err.splitlines()[0]) == (2, "error: There is, or was, an API key 'ci'.")
    assert cli("keys", "revoke", "ci").out.strip() == "Revoked ci."
    listed = cli("keys", "list", "--json")
    assert [(key["name"], key["state"]) for key in listed.json()["keys"]] == [("anna", "valid"), ("ci", "revoked")]
    assert "sk_" not in listed.out + cli("keys", "list").out + cli("audit").out


def test_a_source_is_opened_and_closed(cli: CommandLine, papers: Path) -> None:
    added = cli("sources", "add", "directory", papers, "--principal", "sales", "--json").json()
    assert added["principals"] == ["sales"]
    lines = [line.split() for line in cli("sources", "show", "1").out.splitlines()]
    assert ["visible", "to", "sales"] in lines
    assert cli("sources", "set", "1", "--principal", "b", "--principal", "a", "--json").json()["principals"] == [
        "a",
        "b",
    ]
    assert cli("sources", "set", "1", "--principal", "a", "--everybody").code == 2
    assert cli("sources", "set", "1", "--everybody", "--json").json()["principals"] is None
    states = {one["operation"]: one["outcome"] for one in cli("operations", "list", "--json").json()["operations"]}
    assert set(states) == {"permit-1", "permit-2"}
