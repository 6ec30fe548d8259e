"""What the environment says is a setting, or is refused without its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.settings import load_settings


@pytest.mark.parametrize("name", ["SEMANTIK_API_KEY", "semantik_api_key"])
def test_the_key_for_a_server_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("SEMANTIK_API_PORT", "1234")
    monkeypatch.setenv(name, "sk_secret")
    assert load_settings(data_dir=tmp_path).api.port == 1234


def test_what_is_no_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIK_QDRANT_API_KEY", "sk_secret")
    with pytest.raises(SettingsError, match=r"'qdrant\.api_key'") as caught:
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
