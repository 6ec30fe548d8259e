"""What the environment says is a setting, or is refused without its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.builtin.stores.qdrant_options import check_url
from semantik_pipeline.errors import PluginConfigError, SettingsError
from semantik_pipeline.ledger.database.connection import open_engine
from semantik_pipeline.settings import load_settings


@pytest.mark.parametrize("name", ["SEMANTIK_API_KEY", "semantik_api_key"])
def test_the_key_for_a_server_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("SEMANTIK_API_PORT", "1234")
    monkeypatch.setenv(name, "sk_secret")
    assert load_settings(data_dir=tmp_path).api.port == 1234


def test_what_is_no_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIK_QDRANT_API_KEY", "sk_secret")
    with pytest.raises(SettingsError, match="SEMANTIK_QDRANT_API_KEY is not a setting") as caught:
        load_settings(data_dir=tmp_path)
    assert "secret" not in str(caught.value)


def test_a_value_that_a_setting_can_not_have_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIK_API_PORT", "many")
    with pytest.raises(SettingsError, match="'many'"):
        load_settings(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SEMANTIK_DATABSE_URL", "SEMANTIK_DATABASE_URL"),
        ("semantik_wrok_lease", "SEMANTIK_WORK_LEASE"),
        ("SEMANTIK_DATADIR", "SEMANTIK_DATA_DIR"),
        ("SEMANTIK_SOMETHING", None),
    ],
)
def test_a_variable_that_no_section_explains_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "sk_secret")
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings(data_dir=tmp_path)
    assert "secret" not in str(caught.value)
    assert (f"Did you mean {meant}?" in str(caught.value)) == (meant is not None)


def test_what_else_is_read_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SEMANTIK_URL", "SEMANTIK_TEST_DATA", "SEMANTIK_DATA_DIR", "semantik_api_key"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("SEMANTIK_COLLECTION", '{"language": "english"}')
    monkeypatch.setenv("SEMANTIK_COLLECTION_CHUNKING", '{"plugin": "sentence"}')
    assert load_settings().data_dir == tmp_path


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load_settings().model_dump()
    for name in (
        "SEMANTIK_DATABASE_URL",
        "SEMANTIK_BROKER_URL",
        "SEMANTIK_QDRANT_URL",
        "SEMANTIK_DATA_DIR",
        "SEMANTIK_CONFIG",
    ):
        monkeypatch.setenv(name, "")
    found = load_settings()
    assert found.model_dump() == usual  # no fleet without a ledger, no data in the current folder
    assert not found.shared_ledger and not found.shared_store


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://ada:hunter2@[::1:5432/semantik", "host or port"),
        ("postgresql://ada:hunter2@localhost:port/semantik", "host or port"),
        ("localhost:5432/hunter2", "not a valid URL"),
        ("mysql://ada:hunter2@localhost/semantik", "begins with mysql://"),
        ("sqlite:ledger", "does not name a file"),
        ("sqlite://folder/ledger", "does not name a file"),
    ],
)
def test_an_address_of_the_ledger_that_is_none_is_named_without_its_password(
    url: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=why) as caught:
        open_engine(url)
    assert "database.url" in str(caught.value) and "hunter2" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["postgresql://ada@[::1]:5432/s", "postgresql+psycopg://ada:p%40ss@db/s"])
def test_addresses_of_a_ledger(url: str) -> None:
    engine = open_engine(url)
    assert (engine.url.drivername, engine.url.username) == ("postgresql+psycopg", "ada")
    engine.dispose()


@pytest.mark.parametrize(
    "url", ["http://[::1:6333", "ftp://localhost:6333", "http://:6333", "http://localhost:port", ""]
)
def test_an_address_of_qdrant_that_is_none(url: str) -> None:
    with pytest.raises(PluginConfigError, match="not a valid server address"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://[::1]:6333", "localhost:6333", "https://qdrant.example", "http://db:6333/prefix"]
)
def test_addresses_of_qdrant(url: str) -> None:
    check_url(url)
