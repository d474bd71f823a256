"""The files that bring up a cluster: checked as far as that goes without a cloud, Kubernetes or Docker."""

import copy
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from jsonschema import Draft202012Validator, ValidationError, validate
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.submit import load_for_cluster
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
STORAGE = "/mnt/kindred"
USER = 1000

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGE = f"registry.example.com/{PROJECT['project']['name']}:{PROJECT['project']['version']}"


@pytest.fixture
def aws() -> dict[str, Any]:
    return dict(yaml.safe_load((CLUSTER / "aws.yaml").read_text()))


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text()))


@pytest.fixture
def claim(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[1]


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, f"constraints.txt does not pin {package}"
    return found[1]


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods' specs, the head's first."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined."""
    lines = [line for line in (CLUSTER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


# AWS: `ray up`


def test_the_cluster_file_is_in_rays_schema(aws: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    validate(aws, schema)


def test_ray_prepares_and_takes_the_cluster_file(aws: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(aws))
    validate_config(prepared)
    for name in aws.keys() - {"available_node_types"}:
        assert prepared[name] == aws[name], f"Ray's default for {name} gets in"


def test_the_head_is_on_demand_and_the_workers_are_spot_and_scale(aws: dict[str, Any]) -> None:
    types = aws["available_node_types"]
    assert set(types) == {"head", "worker"}
    assert aws["head_node_type"] == "head"
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["worker"]["min_workers"] < types["worker"]["max_workers"] <= aws["max_workers"]


def test_the_token_reaches_every_node_and_stands_in_no_file(aws: dict[str, Any], job: dict[str, Any]) -> None:
    home = next(value for name, value in dockerfile() if value.startswith("HOME=")).removeprefix("HOME=")
    assert aws["file_mounts"] == {f"{home}/.ray/auth_token": "~/.ray/auth_token"}
    assert "--env RAY_AUTH_MODE=token" in aws["docker"]["run_options"]
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "kindred-token"}
    for file in CLUSTER.iterdir():
        if file.is_file():
            assert "RAY_AUTH_TOKEN=" not in file.read_text()


def test_the_dashboard_of_aws_is_on_loopback(aws: dict[str, Any]) -> None:
    (start,) = [command for command in aws["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in shlex.split(start)


def test_every_node_of_aws_has_the_storage(aws: dict[str, Any]) -> None:
    assert f"--volume {STORAGE}:{STORAGE}" in aws["docker"]["run_options"]
    assert any("mount -t nfs4" in command and STORAGE in command for command in aws["initialization_commands"])
    assert f"sudo chown {USER}:{USER} {STORAGE}" in aws["initialization_commands"]


def test_every_command_is_a_shells(aws: dict[str, Any]) -> None:
    commands = [
        command for name, value in aws.items() if name.endswith("_commands") for command in value
    ]  # fmt: skip
    assert commands
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


# Kubernetes: RayJob


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    written = dict(yaml.safe_load(Path(__file__).with_name("rayjob_schema.yaml").read_text()))
    Draft202012Validator.check_schema(written)
    return written


def test_the_rayjob_and_its_claim_are_in_the_schema(documents: list[dict[str, Any]], schema: dict[str, Any]) -> None:
    assert [document["kind"] for document in documents] == ["PersistentVolumeClaim", "RayJob"]
    for document in documents:
        validate(document, schema, cls=Draft202012Validator)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(job: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = job
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("spec.entryPoint", "kindred run digits"),
        _set("spec.submissionMode", "K8SJobMode"),
        _set("spec.shutdownAfterJobFinishes", False),
        _set("spec.rayClusterSpec.authOptions.secret", "kindred-token"),
        _set("spec.rayClusterSpec.rayVersion", 2.60),
        _set("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        _set("spec.rayClusterSpec.workerGroupSpecs.0.replicas", "1"),
        _set("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.restartPolicy", "Always"),
        _set("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.volumeMount", []),
        _set(
            "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.limits.cpu",
            "4 cores",
        ),
        _set("metadata.name", "Kindred_1"),
    ],
)
def test_the_schema_refuses_what_kuberay_would(
    job: dict[str, Any], schema: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    changed = json.loads(json.dumps(job))  # without the aliases, which a change would go through
    validate(changed, schema, cls=Draft202012Validator)
    change(changed)
    with pytest.raises(ValidationError):
        validate(changed, schema, cls=Draft202012Validator)


def test_the_entrypoint_is_a_command_and_a_case_that_kindred_has(job: dict[str, Any]) -> None:
    program, command, case, *options = shlex.split(job["spec"]["entrypoint"])
    assert program in PROJECT["project"]["scripts"]
    assert command in {known.name or known.callback.__name__ for known in app.registered_commands if known.callback}
    assert set(options[::2]) == {"--set"}
    loaded = load_for_cluster(case, options[1::2])
    assert Path(loaded.storage.path).is_relative_to(STORAGE)


def test_every_pod_has_the_claims_storage(job: dict[str, Any], claim: dict[str, Any]) -> None:
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(job):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert mounted[STORAGE]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_workers_scale_between_their_bounds(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["minReplicas"] < group["maxReplicas"]


def test_no_pod_runs_as_root(job: dict[str, Any]) -> None:
    for pod in pods(job):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == USER
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_is_of_the_pinned_version_everywhere(job: dict[str, Any]) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")
    installs = [arguments for name, arguments in dockerfile() if name == "RUN" and "pip install" in arguments]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in install for install in installs), "what is installed is not pinned"
    assert pinned("boto3")


def test_it_is_the_same_image_everywhere(aws: dict[str, Any], job: dict[str, Any]) -> None:
    images = {container["image"] for pod in pods(job) for container in pod["containers"]}
    assert images | {aws["docker"]["image"]} == {IMAGE}
    for file in ("Dockerfile", "README.md"):
        assert IMAGE in (CLUSTER / file).read_text()


# The image


def test_the_image_gets_what_the_package_is_made_of() -> None:
    sources = [source for name, value in dockerfile() if name == "COPY" for source in shlex.split(value)[:-1]]
    for source in sources:
        assert (ROOT / source).exists(), source
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = packages | {"pyproject.toml", "constraints.txt", PROJECT["project"]["readme"], "LICENSE"}
    assert set(sources) == needed


def test_the_images_python_is_one_that_the_package_takes() -> None:
    base = next(value for name, value in dockerfile() if name == "FROM")
    version = re.match(r"python:(\d+)\.(\d+)-slim", base)
    lowest = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert version
    assert lowest
    assert tuple(map(int, version.groups())) >= tuple(map(int, lowest.groups()))


def test_the_image_runs_as_the_user_that_owns_the_storage() -> None:
    instructions = dockerfile()
    (user,) = [value for name, value in instructions if name == "USER"]
    (made,) = [value for name, value in instructions if name == "RUN" and "useradd" in value]
    assert f"useradd --uid {USER} " in made
    assert f"--owner {user} --group {user} {STORAGE}" in made
