"""The Dockerfile copies what there is, has both variants, and its folders fit the volumes. (No engine is needed.)"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path

import yaml

REPO = Path(__file__).parents[1]


def text(name: str) -> str:
    return (REPO / name).read_text("utf-8")


@cache
def instructions() -> tuple[tuple[str, str], ...]:
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    return tuple(tuple(line.split(maxsplit=1)) for line in lines.splitlines() if line.strip())


def copied() -> set[str]:
    sources = [words.split() for name, words in instructions() if name == "COPY" and "--from" not in words]
    return {source.rstrip("/") for words in sources for source in words[:-1]}


def test_everything_that_is_copied_exists_and_goes_to_the_builder() -> None:
    sent = {line.removeprefix("!") for line in text(".dockerignore").splitlines() if line.startswith("!")}
    for source in copied():
        assert (REPO / source).exists(), source
        assert source.split("/")[0] in sent, source
    assert sent == {source.split("/")[0] for source in copied()}


def test_stages_are_there_and_both_variants() -> None:
    made: list[str] = []
    for name, words in instructions():
        if name == "FROM":
            base = words.split()[0]
            if base == "torch-${VARIANT}":
                assert {"torch-cpu", "torch-cuda"} <= set(made)
            elif not base.startswith("python:"):
                assert base in made
            made.append(words.split()[-1])
    assert made[-1] == "runtime"


def test_the_image_is_run_by_nobody_special_and_is_semantik() -> None:
    last = dict(instructions())
    assert int(last["USER"]) > 0
    assert json.loads(last["ENTRYPOINT"]) == ["semantik"]
    assert "PIP_CONSTRAINT=/etc/semantik/constraints.txt" in text("Dockerfile")


def test_folders_that_volumes_cover_belong_to_the_user() -> None:
    """A named volume takes over the owner of the folder that it is mounted on; another one would be root's."""
    [made] = [words for name, words in instructions() if name == "RUN" and "install --directory" in words]
    services = yaml.safe_load(text("docker-compose.yml"))["services"].values()
    ours = [one for one in services if one["image"].startswith("semantik-pipeline:")]
    volumes = {volume for one in ours for volume in one["volumes"] if not volume.startswith("./")}
    assert volumes
    assert [volume for volume in volumes if f" {volume.split(':')[1]}" not in made] == []


def test_extras_of_the_image_exist() -> None:
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    default = next(words for name, words in instructions() if name == "ARG" and words.startswith("EXTRAS="))
    assert {"fleet", default.removeprefix("EXTRAS=")} <= set(extras)


def test_ssh_is_there_for_git_sources() -> None:
    [installed] = [words for name, words in instructions() if name == "RUN" and "apt-get install" in words]
    assert "openssh-client" in installed.split()
    [home] = re.findall(r"--home-dir (\S+)", text("Dockerfile"))
    assert f"`{home}/.ssh`" in text("docs/sources.md")
