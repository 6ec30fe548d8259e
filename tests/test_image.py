"""The Dockerfile copies existing files, has both variants, and its folders fit the volumes. No engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[1]


def text(name: str) -> str:
    return (REPO / name).read_text("utf-8")


@cache
def instructions() -> tuple[tuple[str, str], ...]:
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    return tuple(tuple(line.split(maxsplit=1)) for line in lines.splitlines() if line.strip())


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the Dockerfile: the instructions after one FROM, up to the next."""

    base: str
    instructions: list[tuple[str, str]]

    def variables(self, given: dict[str, str]) -> dict[str, str]:
        """Return the shell variables of its last RUN: the build arguments declared before it, with given values."""
        declared: dict[str, str] = {}
        last = max(place for place, (name, _) in enumerate(self.instructions) if name == "RUN")
        for name, words in self.instructions[:last]:
            if name == "ARG":
                argument, _, default = words.partition("=")
                declared[argument] = given.get(argument, default)
        return declared


@cache
def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for name, words in instructions():
        if name == "FROM":
            base, _, stage = words.split()
            found[stage] = Stage(base=base, instructions=[])
        elif found:
            next(reversed(found.values())).instructions.append((name, words))
    return found


def chain(variant: str) -> list[str]:
    """Return the stages of an image, from the last to the one based on Python's image."""
    names = ["runtime"]
    while (base := stages()[names[-1]].base.replace("${VARIANT}", variant)) in stages():
        names.append(base)
    return names


def pip_calls(stage: Stage, folder: Path, given: dict[str, str]) -> list[list[str]]:
    """Run a stage's last RUN in a shell with a fake pip, and return pip's arguments. Raises CalledProcessError."""
    folder.mkdir()
    (folder / "pip").write_text(f"""#!/bin/sh\n(printf '%s\\t' "$@"; echo) >> {folder}/calls\n""")
    (folder / "pip").chmod(0o755)
    line = [words for name, words in stage.instructions if name == "RUN"][-1]
    line = re.sub(r"--mount=\S+", "", line)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **stage.variables(given)}
    subprocess.run(["sh", "-c", line], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return [line.split("\t")[:-1] for line in (folder / "calls").read_text().splitlines()]


def copied() -> set[str]:
    sources = [words.split() for name, words in instructions() if name == "COPY" and "--from" not in words]
    return {source.rstrip("/") for words in sources for source in words[:-1]}


def test_everything_that_is_copied_exists_and_goes_to_the_builder() -> None:
    sent = {line.removeprefix("!") for line in text(".dockerignore").splitlines() if line.startswith("!")}
    for source in copied():
        assert (REPO / source).exists(), source
        assert source.split("/")[0] in sent, source
    assert sent == {source.split("/")[0] for source in copied()}


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_both_variants_are_built_from_the_same_stages_and_their_own_torch(variant: str) -> None:
    assert list(stages())[-1] == "runtime", "a build without --target makes the last stage"
    assert chain(variant) == ["runtime", "dependencies", f"torch-{variant}", "base"]
    assert stages()["base"].base.startswith("python:")
    assert ("ARG", "VARIANT=cpu") in instructions()[:3], "before the first FROM, where the others' bases are named"


def test_each_variant_installs_its_torch(tmp_path: Path) -> None:
    index = "https://download.example/cpu"
    given = {"TORCH_INDEX": index, "EXTRA_PLUGINS": "", "EXTRAS": ""}
    cpu, cuda = stages()["torch-cpu"], stages()["torch-cuda"]
    plain = ["install", "--no-deps"]
    assert pip_calls(cpu, tmp_path / "a", given) == [[*plain, "--index-url", index, "torch"]]
    assert pip_calls(cpu, tmp_path / "b", {}) == [[*plain, "torch"]]
    assert pip_calls(cuda, tmp_path / "c", given) == [["install", "torch"]], "PyPI's includes the CUDA libraries"
    assert "NVIDIA_VISIBLE_DEVICES=all" in dict(cuda.instructions)["ENV"]


def test_extra_plugins_are_installed_if_there_are_some(tmp_path: Path) -> None:
    runtime = stages()["runtime"]
    ours = ["install", "--no-deps", "/wheels/*.whl"]
    extra = ["semantik-tickets==1.0.0", "semantik-jira"]
    assert pip_calls(runtime, tmp_path / "none", {}) == [ours]
    assert pip_calls(runtime, tmp_path / "some", {"EXTRA_PLUGINS": " ".join(extra)}) == [ours, ["install", *extra]]


def test_compose_builds_with_arguments_that_the_image_has() -> None:
    known = {words.partition("=")[0] for name, words in instructions() if name == "ARG"}
    services = yaml.safe_load(text("docker-compose.yml"))["services"].values()
    builds = [one["build"] for one in services if one["image"].startswith("semantik-pipeline:")]
    assert len(builds) > 5
    for build in builds:
        assert build["args"] == {
            "VARIANT": "cpu",
            "TORCH_INDEX": "${TORCH_INDEX:-}",
            "EXTRA_PLUGINS": "${EXTRA_PLUGINS:-}",
        }
        assert set(build["args"]) <= known
    assert {"TORCH_INDEX", "EXTRA_PLUGINS"} <= set(
        re.findall(r"^#? ?([A-Z_]+)=", text("config/fleet.env"), re.MULTILINE)
    )


def test_the_image_is_run_by_nobody_special_and_is_semantik() -> None:
    last = stages()["runtime"].instructions
    names = [name for name, _ in last]
    [made] = re.findall(r"useradd --uid (\d+)", text("Dockerfile"))
    assert dict(last)["USER"] == made and int(made) > 0
    assert names.count("USER") == 1 and "RUN" not in names[names.index("USER") :], "what is installed is root's"
    assert "USER" not in [
        name for stage in stages().values() for name, _ in stage.instructions if stage.instructions is not last
    ]
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["semantik"]
    assert "PIP_CONSTRAINT=/etc/semantik/constraints.txt" in dict(stages()["base"].instructions)["ENV"]


def test_folders_that_volumes_cover_belong_to_the_user() -> None:
    """A named volume takes the owner of the folder it is mounted on; a missing folder would belong to root."""
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
