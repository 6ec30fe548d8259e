"""The commands of ``semantik models``, with a hub on loopback and without one."""

from __future__ import annotations

import shutil
from pathlib import Path

from semantik_pipeline.testing.hub_double import HubDouble
from tests.integration.cli.conftest import CommandLine

NAME, FIRST = "acme/tiny", "1" * 40


def test_a_host_without_network_gets_a_copy_and_proves_it(cli: CommandLine, hub: HubDouble, tmp_path: Path) -> None:
    done = cli("models", "pull", NAME, "--revision", FIRST, "--to", tmp_path / "usb", "--json", HF_ENDPOINT=hub.url)
    assert done.code == 0, done.err
    assert (done.json()["revision"], done.json()["fetched"]) == (FIRST, True)
    shutil.copytree(tmp_path / "usb", cli.data / "models")
    mine = cli.data / "models" / NAME / FIRST
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    found = cli("models", "where", NAME, **offline)
    assert (found.code, found.out.splitlines()[0]) == (0, str(mine))
    listed = cli("models", "list", "--json", **offline).json()["models"]
    about = {one["name"]: (one["state"], one["revision"], one["used_by"]) for one in listed}
    assert about[NAME] == ("known", FIRST, [])
    assert about["fake"] == ("elsewhere", None, ["new collections"])
    assert cli("models", "verify", **offline).code == 0
    (mine / "config.json").write_text("{}", "utf-8")
    checked = cli("models", "verify", NAME, "--json", **offline)
    assert (checked.code, checked.json()["broken"]) == (1, [NAME])
    assert "config.json differs" in checked.json()["models"][0]["problems"][0]


def test_a_model_that_is_nowhere_and_a_hub_that_is_away_say_the_way_out(cli: CommandLine) -> None:
    for command in ("where", "verify"):  # no name is not the default model's
        assert cli("models", command, "").code == 2
    nowhere = cli("models", "where", "acme/other", HF_HUB_OFFLINE="1")
    assert nowhere.code == 1
    assert "semantik models pull acme/other" in nowhere.err
    away = cli("models", "pull", NAME, "--json", HF_HUB_OFFLINE="1")
    assert away.code == 1
    assert "copy that host's models folder" in str(away.json())
    assert list((cli.data / "models").glob("*")) == []
