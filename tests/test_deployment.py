"""Deployment files (compose, Kubernetes) refer only to settings, commands and profiles that exist.

No container engine is needed: the files are compared with the compose specification's schema, the settings, the
commands and the profiles. ``docker compose config`` checks more, if it is available.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from semantik_pipeline.settings import Section, Settings, load_settings
from workers.profiles import PROFILES

REPO = Path(__file__).parents[1]
COMPOSE = ("docker-compose.yml", "docker-compose.gpu.yml")
KUBERNETES = sorted(REPO.glob("docs/kubernetes/*.yaml"))


def text(name: str) -> str:
    return (REPO / name).read_text("utf-8")


@cache
def compose(name: str = COMPOSE[0]) -> dict[str, Any]:
    return yaml.safe_load(text(name))


def ours() -> dict[str, dict[str, Any]]:
    """Return the services that run this project's image."""
    services = compose()["services"]
    return {name: service for name, service in services.items() if service["image"].startswith("semantik-pipeline:")}


@cache
def resources() -> tuple[dict[str, Any], ...]:
    return tuple(one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text("utf-8")))


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod specifications by the name of the Deployment or Job that creates them."""
    found = [one for one in resources() if one["kind"] in ("Deployment", "Job")]
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found}


def resource(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in resources() if (one["kind"], one["metadata"]["name"]) == (kind, name))


# -- settings, commands, profiles --------------------------------------------------------------------------------------


def environments() -> dict[str, dict[str, str]]:
    """Return the environment variables of each of this project's parts, with made-up values for compose's variables."""

    def fill(value: str) -> str:
        return re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: found[2] if ":-" in found[0] else "secret", value)

    found = {name: {key: fill(str(value)) for key, value in one["environment"].items()} for name, one in ours().items()}
    secrets = resource("Secret", "semantik-secrets")["stringData"]
    shared = resource("ConfigMap", "semantik-settings")["data"] | secrets
    for name, pod in pods().items():
        own = {entry["name"]: entry["value"] for entry in pod["containers"][0].get("env", [])}
        found[f"kubernetes {name}"] = shared | own
    pairs = re.findall(r"^(?:ENV|   ) +(\w+)=(\S+)", text("Dockerfile"), re.MULTILINE)
    return {**found, "Dockerfile": {name: value for name, value in pairs if name.isupper()}}


def setting_names() -> set[str]:
    names = {"SEMANTIK_CONFIG", "SEMANTIK_DATA_DIR"}
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names |= {f"SEMANTIK_{section}_{name}".upper() for name in field.annotation.model_fields}
    return names


@pytest.mark.parametrize("part", environments())
def test_every_setting_that_is_given_exists(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in environments()[part].items() if name.startswith("SEMANTIK_")}
    assert given
    assert set(given) <= setting_names()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SEMANTIK_CONFIG", raising=False)
    settings = load_settings()
    if part != "Dockerfile":
        assert settings.qdrant.api_key_env in environments()[part]
        assert None not in (settings.database.url, settings.qdrant.url, settings.blob.url, settings.plugin.state_file)


def commands() -> list[list[str]]:
    """Return the arguments of every ``semantik`` command that the files run or tell users to run."""
    found = [one["command"] for one in ours().values() if "entrypoint" not in one and "command" in one]
    found += [pod["containers"][0]["args"] for pod in pods().values()]
    pages = [text(name) for name in (*COMPOSE, "config/fleet.env", "docs/kubernetes.md")]
    pages += [text("config/prometheus/alerts.yml"), text("config/grafana/dashboards/semantik.json"), text("README.md")]
    for page in pages:
        typed = re.findall(r"compose run --rm cli ([\w -]+)|-- semantik ([\w -]+)|`semantik ([\w -]+)", page)
        words = [shlex.split(next(filter(None, groups))) for groups in typed]
        found += [one for one in words if not one[0].startswith("-")]
    return found


def test_every_command_exists() -> None:
    import typer.main

    from semantik_pipeline.cli.app import app

    checked = 0
    for arguments in commands():
        command: Any = typer.main.get_command(app)
        words = list(arguments)
        while hasattr(command, "commands"):
            assert words and words[0] in command.commands, f"semantik {' '.join(arguments)}"
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, arguments
        checked += 1
    assert checked > 15


def test_every_profile_exists_and_every_stage_has_one() -> None:
    named = [words[words.index("--profile") + 1] for words in commands() if "--profile" in words]
    assert set(named) >= {"cpu", "gpu"} and set(named) <= set(PROFILES)


def test_a_fleet_answers_every_queue() -> None:
    from semantik_pipeline.pipeline import QUEUES

    for profiles in (["cpu", "gpu"], ["gpu"]):
        assert set(QUEUES) <= {queue for name in profiles for queue in PROFILES[name].queues}


# -- compose -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_is_what_the_specification_says(name: str) -> None:
    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", REPO / name]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_secret_is_asked_for_and_none_is_told() -> None:
    known = dict(re.findall(r"^#? ?([A-Z_]+)=(.*)$", text("config/fleet.env"), re.MULTILINE))
    used = dict(re.findall(r"\$\{(\w+)(:[-?])", text(COMPOSE[0])))
    assert set(used) <= set(known)
    secrets = {name for name, how in used.items() if how == ":?"}
    assert secrets == {name for name in known if re.search("PASSWORD|KEY", name)}
    assert not any(known[name] for name in secrets)
    for line in text(COMPOSE[0]).splitlines():
        told = re.search(r"(?i)(?:password|api_key|auth)\w*: (?!\$\{|operator:\$\{|QDRANT_API_KEY$)\S+", line)
        assert told is None, line


def test_the_line_that_makes_up_secrets_fills_these_alone(tmp_path: Path) -> None:
    """Run as in the file itself and in the manual, with a fake openssl."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/fleet.env").write_text(text("config/fleet.env"), "utf-8")
    openssl = tmp_path / "openssl"
    openssl.write_text("#!/bin/sh\necho made-up\n", "utf-8")
    openssl.chmod(0o755)
    for name in ("config/fleet.env", "docs/operations.md"):
        [shown] = re.findall(r"\(umask 077; .*?> \.env\)", text(name), re.DOTALL)
        line = re.sub(r"\n#? +", "\n", shown)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, check=True)
        before, after = text("config/fleet.env").splitlines(), (tmp_path / ".env").read_text("utf-8").splitlines()
        assert len(before) == len(after)
        filled = [new for old, new in zip(before, after, strict=True) if old != new]
        assert len(filled) >= 5 and all(re.fullmatch(r"[A-Z_]+=made-up", new) for new in filled), name


def test_every_service_is_checked_limited_and_comes_back() -> None:
    for name, service in compose()["services"].items():
        if name == "cli":  # runs one command and ends
            continue
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        assert name == "migrate" or service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_services_wait_for_what_can_become_healthy() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}[how["condition"]]
            assert wanted in services[other], f"{name} waits for {other}"


def test_what_is_mounted_exists() -> None:
    named = set(compose()["volumes"])
    used = set()
    for name, service in compose()["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (REPO / source).exists(), f"{name}: {source}"
            elif source != "/":
                used.add(source)
    assert used == named


def test_workers_read_what_the_command_line_writes() -> None:
    def mode(service: str, folder: str) -> str:
        volumes = [volume.split(":") for volume in ours()[service]["volumes"]]
        return next((rest[-1] for _, *rest in volumes if rest[0].endswith(folder)), "none")

    for folder in ("models", "packages", "state"):
        assert mode("cli", folder) != "ro"
        assert mode("worker-cpu", folder) == mode("worker-gpu", folder) == "ro"
    assert mode("worker-cpu", "blobs").endswith("blobs")  # writable for workers


def test_a_stop_gives_the_units_in_hand_their_time() -> None:
    from workers.supervisor import GRACE

    needed = Settings().worker.soft_shutdown + GRACE
    for name in ("worker-cpu", "worker-gpu"):
        assert int(ours()[name]["stop_grace_period"].removesuffix("s")) > needed
        assert pods()[f"semantik-{name}"]["terminationGracePeriodSeconds"] > needed


def test_containers_may_use_what_their_children_may() -> None:
    """Container memory ≥ children × child.memory_mb, plus a gigabyte for the process itself."""
    for name in ("worker-cpu", "worker-gpu"):
        limit = re.search(r":-(\d+)g", ours()[name]["deploy"]["resources"]["limits"]["memory"])
        children = int(environments()[name]["SEMANTIK_CHILD_PROCESSES"])
        assert limit and int(limit[1]) * 1024 >= children * Settings().child.memory_mb + 1024
        container = pods()[f"semantik-{name}"]["containers"][0]
        memory = re.fullmatch(r"(\d+)Gi", container["resources"]["limits"]["memory"])
        assert memory and int(memory[1]) >= int(limit[1]), (name, memory, limit)


def test_the_gpu_is_reserved_by_the_override_alone() -> None:
    assert "devices" not in text(COMPOSE[0])
    [(name, changed)] = compose(COMPOSE[1])["services"].items()
    base = ours()[name]
    assert changed["build"]["args"]["VARIANT"] == "cuda" and base["build"]["args"]["VARIANT"] == "cpu"
    [device] = changed["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_store_speaks_the_clients_language() -> None:
    client = re.search(r"^qdrant-client==(\d+\.\d+)", text("constraints.txt"), re.MULTILINE)
    assert client and compose()["services"]["qdrant"]["image"].startswith(f"qdrant/qdrant:v{client[1]}.")


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def test_no_variable_of_a_service_is_taken_for_a_setting() -> None:
    """Kubernetes sets variables for each service in pods; for ``semantik-api`` SEMANTIK_API_PORT=tcp://..."""
    assert [name for name, pod in pods().items() if pod.get("enableServiceLinks") is not False] == []


def test_pods_refer_to_what_is_there() -> None:
    names = {(one["kind"], one["metadata"]["name"]) for one in resources()}
    for pod in pods().values():
        [container] = pod["containers"]
        refs = [(kind, one) for source in container["envFrom"] for kind, one in source.items()]
        wanted = {({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], one["name"]) for kind, one in refs}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                wanted.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        assert wanted <= names
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_what_serves_metrics_is_probed_there() -> None:
    port = int(resource("ConfigMap", "semantik-settings")["data"]["SEMANTIK_METRICS_PORT"])
    for name, pod in pods().items():
        if name not in ("semantik-migrate", "semantik-api"):
            [container] = pod["containers"]
            assert container["ports"] == [{"name": "metrics", "containerPort": port}]
            asked = {
                probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
            }
            # An unavailable broker keeps a process from being ready, but must not get it killed during startup.
            assert asked["startupProbe"] == asked["livenessProbe"] == {"path": "/live", "port": "metrics"}
            assert asked["readinessProbe"] == {"path": "/ready", "port": "metrics"}


def test_the_api_is_probed_where_it_listens_and_reached_there() -> None:
    from semantik_pipeline.api.app import PREFIX, create_app
    from semantik_pipeline.runtime import Runtime

    port, paths = Settings().api.port, create_app(Runtime(Settings())).openapi()["paths"]
    [container] = pods()["semantik-api"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    probes = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes["livenessProbe"] == {"path": f"{PREFIX}/health/live", "port": "http"}
    assert probes["startupProbe"] == probes["readinessProbe"] == {"path": f"{PREFIX}/health/ready", "port": "http"}
    assert {f"{PREFIX}/health/{what}" for what in ("live", "ready")} <= set(paths)
    service = resource("Service", "semantik-api")["spec"]
    assert service["selector"] == deployments()["semantik-api"]["spec"]["selector"]["matchLabels"]
    # A failed check restarts the container, so it checks liveness: an unavailable store is no reason to restart.
    assert f"127.0.0.1:{port}{PREFIX}/health/live" in str(ours()["api"]["healthcheck"])
    assert ours()["api"]["ports"] == [f"127.0.0.1:${{API_PORT:-{port}}}:{port}"]  # reachable from this host only


def test_budgets_and_scalers_select_deployments() -> None:
    labels = {name: one["spec"]["selector"]["matchLabels"] for name, one in deployments().items()}
    for one in resources():
        if one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"] == labels[one["metadata"]["name"]]
        if one["kind"] == "ScaledObject":
            target = one["spec"]["scaleTargetRef"]["name"]
            assert "replicas" not in deployments()[target]["spec"]


def deployments() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in resources() if one["kind"] == "Deployment"}


def test_the_state_file_of_the_cluster_is_one() -> None:
    from semantik_pipeline.plugins.state import parse_state

    body = resource("ConfigMap", "semantik-plugins")["data"]["plugins.json"]
    assert parse_state(body.encode(), "plugins.json").revision == 1


def test_the_memory_that_the_page_names_is_what_the_limits_add_up_to() -> None:
    """Only long-running services count: the migration ends, and the command line is run occasionally."""

    def mebibytes(limit: str) -> int:
        number, unit = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([gm])\}?", limit).groups()  # type: ignore[union-attr]
        return int(number) * (1024 if unit == "g" else 1)

    lasting = [one for name, one in compose()["services"].items() if name != "migrate" and "profiles" not in one]
    total = sum(mebibytes(one["deploy"]["resources"]["limits"]["memory"]) for one in lasting)
    assert f"The memory limits add up to {total // 1024} GiB" in " ".join(text("docs/operations.md").split())


def test_the_page_names_who_gets_the_credentials_of_sources() -> None:
    given = {
        name for name, one in ours().items() if any("sources.env" in str(file) for file in one.get("env_file", ()))
    }
    assert given == {"worker-cpu", "worker-gpu", "api", "cli"}
    title = "#### Credentials of sources and plugins\n"
    _, _, after = text("docs/operations.md").partition(title)
    told = " ".join(after.partition("\n#")[0].split())
    assert all(who in told for who in ("The workers", "the API", "the command line"))
