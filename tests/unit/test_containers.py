"""Image, compose file, Kubernetes manifests and CI workflow match the code and the schemas of their formats."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from configs.secrets import declared_secrets
from configs.settings import ENVIRONMENT_VARIABLES, load_settings
from dataflows.runtime.topology import COMPACT, COMPACT_SERVICES, EDGE_SERVICES, SERVICES
from deploy.supervisor.platform_services import HTTP_OPTIONS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "containers" / "compose.yaml").read_text())
BASE = ROOT / "deploy" / "kubernetes" / "base"
DOCKERFILE = (ROOT / "deploy" / "containers" / "Dockerfile").read_text()
SCRIPT = ROOT / "deploy" / "containers" / "container.sh"
PLATFORM_VARIABLES = {"PLATFORM_HOME", "PLATFORM_API_URL"}
PINNED = re.compile(r"^[a-z0-9./-]+:v?\d+(\.\d+)*$")
PLATFORM_SERVICES = {name: s for name, s in COMPOSE["services"].items() if s["image"].startswith("trading-platform:")}


def manifests() -> list[dict[str, Any]]:
    resources = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [tree for name in resources for tree in yaml.safe_load_all((BASE / name).read_text())]


MANIFESTS = manifests()


def containers() -> list[dict[str, Any]]:
    pods = [tree["spec"]["template"]["spec"] for tree in MANIFESTS if "template" in tree.get("spec", {})]
    return [container for pod in pods for container in pod["containers"]]


def run_check_jsonschema(schema: str, file: Path) -> Result:
    """Run check-jsonschema with one of its built-in schemas, without network access."""
    from check_jsonschema import main  # here, because every process that collects the tests would import it

    return CliRunner().invoke(main, ["--builtin-schema", schema, str(file)])


@pytest.mark.parametrize(
    ("schema", "name", "valid_key", "invalid_key"),
    [
        ("vendor.compose-spec", "deploy/containers/compose.yaml", "stop_grace_period:", "stop_grace:"),
        ("vendor.github-workflows", ".github/workflows/ci.yml", "runs-on:", "runs:"),
    ],
)
def test_file_follows_its_schema(tmp_path: Path, schema: str, name: str, valid_key: str, invalid_key: str) -> None:
    result = run_check_jsonschema(schema, ROOT / name)
    assert result.exit_code == 0, result.output
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((ROOT / name).read_text().replace(valid_key, invalid_key))
    assert run_check_jsonschema(schema, wrong).exit_code == 1


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_every_manifest_follows_the_kubernetes_schema(version: str) -> None:
    """Strict mode rejects unknown fields. kustomization.yaml is not an API resource."""
    import kubernetes_validate  # takes a second, which every process that collects the tests would spend

    manifest_files = {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml", "secret.template.yaml"}
    assert set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]) == manifest_files
    for tree in [*MANIFESTS, yaml.safe_load((BASE / "secret.template.yaml").read_text())]:
        assert kubernetes_validate.validate(tree, version, strict=True) == version
    wrong = {**MANIFESTS[0], "metdata": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="metdata"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_every_dataflow_has_a_container_with_its_own_store() -> None:
    for service in SERVICES:
        compose_service = COMPOSE["services"][service]
        assert compose_service["command"] == [service]
        assert f"recovery-{service}:/state/recovery" in compose_service["volumes"]
    assert PLATFORM_SERVICES.keys() == {*SERVICES, "migrate", "api", "alerts", "dashboard"}
    stateful_sets = {tree["metadata"]["name"]: tree["spec"] for tree in MANIFESTS if tree["kind"] == "StatefulSet"}
    assert stateful_sets.keys() == {service.replace("_", "-") for service in SERVICES}
    for service in SERVICES:
        spec = stateful_sets[service.replace("_", "-")]
        [container] = spec["template"]["spec"]["containers"]
        assert container["args"] == [service] and spec["replicas"] == 1
        assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["recovery"]


def test_the_compact_file_replaces_the_deciding_dataflows_by_one_container() -> None:
    tree = yaml.safe_load((ROOT / "deploy" / "containers" / "compose.compact.yaml").read_text())
    compact = tree["services"].pop(COMPACT)
    edges = {"sentiment": "llm", "execution": "broker"}
    assert set(edges) == set(EDGE_SERVICES)
    assert tree["services"] == {name: {"profiles": [edges.get(name, "layout-services")]} for name in COMPACT_SERVICES}
    assert compact["extends"] == {"file": "compose.yaml", "service": "execution"}
    assert compact["command"] == [COMPACT]
    # A volume replaces the one of `execution` that has the same folder in the container.
    targets = [volume.split(":")[1] for volume in COMPOSE["services"]["execution"]["volumes"]]
    assert [volume.split(":")[1] for volume in compact["volumes"]] == targets
    assert tree["volumes"].keys() == {f"recovery-{COMPACT}"}


def test_images_are_pinned_and_have_no_registry() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [container["image"] for container in containers()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.replace("-slim-bookworm", "").replace("-bookworm-slim", ""), re.M)
    for image in images:
        assert PINNED.match(image) and "." not in image.split("/")[0].split(":")[0], image


def test_every_configured_setting_exists() -> None:
    environment: dict[str, str] = {}
    for name, service in PLATFORM_SERVICES.items():
        environment |= {key: str(value) for key, value in service.get("environment", {}).items()}
        assert set(_names(service.get("secrets", []))) <= declared_secrets().keys(), name
    [config] = [tree for tree in MANIFESTS if tree["kind"] == "ConfigMap"]
    environment |= config["data"]
    for name in environment.keys() - ENVIRONMENT_VARIABLES.keys() - PLATFORM_VARIABLES:
        assert "__" in name, name
    load_settings(environment=environment)
    template = yaml.safe_load((BASE / "secret.template.yaml").read_text())["stringData"]
    assert template.keys() <= declared_secrets().keys() and not any(template.values())


def _names(secrets: list[Any]) -> list[str]:
    return [secret if isinstance(secret, str) else secret["source"] for secret in secrets]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_container_has_limits_a_health_check_and_local_ports_only(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["restart"] in ("unless-stopped", "on-failure:3")
    # The platform image defines its own health check.
    assert "healthcheck" in service or name in PLATFORM_SERVICES
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(_names(service.get("secrets", []))) <= COMPOSE["secrets"].keys()
    mounted = [volume.split(":")[0] for volume in service.get("volumes", [])]
    for source in mounted:
        exists = source in COMPOSE["volumes"] or (ROOT / "deploy" / "containers" / source).exists()
        assert exists, f"{name} mounts {source}"
    assert not ("edge" in service["networks"] and name in ("postgres", "valkey", "kafka-1", "kafka-2", "kafka-3"))


def test_kubernetes_pods_are_non_root_and_have_resource_limits() -> None:
    for tree in MANIFESTS:
        if "template" in tree.get("spec", {}):
            pod = tree["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            volumes |= {claim["metadata"]["name"] for claim in tree["spec"].get("volumeClaimTemplates", [])}
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"]
                assert container["resources"]["limits"].keys() == {"cpu", "memory"}
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
                assert tree["kind"] == "Job" or {"livenessProbe", "readinessProbe"} <= container.keys()
    policies = [tree for tree in MANIFESTS if tree["kind"] == "NetworkPolicy"]
    default_deny = [
        policy for policy in policies if policy["spec"]["podSelector"] == {} and "ingress" not in policy["spec"]
    ]
    assert any(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in default_deny)


def test_paths_copied_into_the_image_exist() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}" in ignored, f"{source} is not sent to the engine"
    assert "\nUSER platform\n" in DOCKERFILE and "\nHEALTHCHECK " in DOCKERFILE and "--require-hashes" in DOCKERFILE


def test_container_script_starts_every_service(tmp_path: Path) -> None:
    """Replace `python` with a script that prints its arguments."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    for service in (*SERVICES, "api", "alerts", "dashboard", "migrate"):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PLATFORM_HOME": str(tmp_path / "state")}
        result = subprocess.run(
            ["/bin/sh", str(SCRIPT), service], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr
        last_line = result.stdout.splitlines()[-1]
        if service in SERVICES:
            assert f"bytewax.run dataflows.{service} -r {tmp_path}/state/recovery/{service} " in last_line
        if service in ("api", "dashboard"):
            assert last_line.endswith(" ".join(HTTP_OPTIONS))
        module = re.search(r"-m (?:uvicorn )?([\w.]+)", last_line)
        assert module is not None
        name = module[1]
        assert (
            name == "bytewax.run"
            or (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
            or (ROOT / name.replace(".", "/") / "__main__.py").exists()
        )


def test_container_health_is_the_health_of_its_service(tmp_path: Path) -> None:
    def health_exit_code() -> int:
        command = [sys.executable, "-m", "deploy.containers.container_health", "risk"]
        environment = {**os.environ, "PLATFORM_HOME": str(tmp_path)}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=False
        ).returncode

    assert health_exit_code() == 1
    (tmp_path / "run" / "stats").mkdir(parents=True)
    (tmp_path / "run" / "stats" / "risk.json").write_text('{"service": "risk", "pid": 7, "updated_at": 9999999999}')
    assert health_exit_code() == 0
