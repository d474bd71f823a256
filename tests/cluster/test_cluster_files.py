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
from ray.autoscaler.sdk.sdk import fillout_defaults

from cluster.submit import load_for_cluster
from pipelines.base.metrics import GAUGES
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
STORAGE = "/mnt/kindred"
USER = 1000

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGE = f"registry.example.com/{PROJECT['project']['name']}:{PROJECT['project']['version']}"


CLOUDS = ("aws", "gcp", "azure")
MANIFESTS = {"rayjob": "RayJob", "raycluster": "RayCluster"}


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(yaml.safe_load((CLUSTER / f"{request.param}.yaml").read_text()))


@pytest.fixture
def aws() -> dict[str, Any]:
    return dict(yaml.safe_load((CLUSTER / "aws.yaml").read_text()))


def manifest(name: str) -> dict[str, dict[str, Any]]:
    """The documents of a file by their kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((CLUSTER / f"{name}.yaml").read_text())}


@pytest.fixture(params=MANIFESTS)
def documents(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return manifest(request.param)


@pytest.fixture
def job() -> dict[str, Any]:
    return manifest("rayjob")["RayJob"]


def cluster_of(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if "RayJob" in documents:
        return dict(documents["RayJob"]["spec"]["rayClusterSpec"])
    return dict(documents["RayCluster"]["spec"])


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, f"constraints.txt does not pin {package}"
    return found[1]


def templates(documents: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods' templates, the head's first."""
    cluster = cluster_of(documents)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def pods(documents: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [template["spec"] for template in templates(documents)]


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined."""
    lines = [line for line in (CLUSTER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


# Clouds: `ray up`


def test_a_clouds_file_is_in_rays_schema(cloud: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    validate(cloud, schema)
    with pytest.raises(ValidationError):
        validate(cloud | {"min_worker": 1}, schema)


def test_none_of_rays_defaults_gets_in(cloud: dict[str, Any]) -> None:
    filled = fillout_defaults(copy.deepcopy(cloud))
    for name in cloud.keys() - {"available_node_types"}:
        assert filled[name] == cloud[name], f"Ray's default for {name} gets in"
    assert set(filled["available_node_types"]) == set(cloud["available_node_types"])


IS_SPOT: dict[str, Callable[[dict[str, Any]], bool]] = {
    "aws": lambda node: node.get("InstanceMarketOptions") == {"MarketType": "spot"},
    "gcp": lambda node: any(rule.get("preemptible") for rule in node.get("scheduling", [])),
    "azure": lambda node: node["azure_arm_parameters"].get("priority") == "Spot",
}


def test_the_head_is_on_demand_and_workers_are_spot_first_and_scale_from_none(cloud: dict[str, Any]) -> None:
    types = cloud["available_node_types"]
    is_spot = {name: IS_SPOT[cloud["provider"]["type"]](kind["node_config"]) for name, kind in types.items()}
    assert not is_spot.pop(cloud["head_node_type"])
    assert is_spot == {"spot": True, "on_demand": False, "gpu_spot": True, "gpu_on_demand": False}
    for name in is_spot:
        assert types[name]["min_workers"] == 0 < types[name]["max_workers"] <= cloud["max_workers"]
    for first, second in (("spot", "on_demand"), ("gpu_spot", "gpu_on_demand")):
        assert types[first]["priority"] > types[second]["priority"]
        # Ray compares what fits by its resources before it looks at the priority.
        assert types[first]["resources"] == types[second]["resources"]


def test_gpus_are_in_the_gpu_types_alone_and_these_have_the_cuda_image(cloud: dict[str, Any]) -> None:
    assert cloud["docker"]["image"] == IMAGE
    for name, kind in cloud["available_node_types"].items():
        has_gpu = "GPU" in kind["resources"]
        assert has_gpu == name.startswith("gpu_")
        assert kind.get("docker", {}).get("worker_image") == (f"{IMAGE}-cuda" if has_gpu else None)


def test_the_token_reaches_every_node_and_stands_in_no_file(cloud: dict[str, Any]) -> None:
    home = next(value for name, value in dockerfile() if name == "ENV").partition("HOME=")[2].split()[0]
    assert cloud["file_mounts"] == {f"{home}/.ray/auth_token": "~/.ray/auth_token"}
    assert "--env RAY_AUTH_MODE=token" in cloud["docker"]["run_options"]
    for file in CLUSTER.iterdir():
        if file.is_file():
            assert "RAY_AUTH_TOKEN=" not in file.read_text()


def test_the_dashboard_of_a_cloud_is_on_loopback(cloud: dict[str, Any]) -> None:
    (start,) = [command for command in cloud["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in shlex.split(start)


def test_every_node_of_aws_has_the_storage(aws: dict[str, Any]) -> None:
    assert f"--volume {STORAGE}:{STORAGE}" in aws["docker"]["run_options"]
    assert any("mount -t nfs4" in command and STORAGE in command for command in aws["initialization_commands"])
    assert f"sudo chown {USER}:{USER} {STORAGE}" in aws["initialization_commands"]


def test_every_command_is_a_shells(cloud: dict[str, Any]) -> None:
    commands = [
        command for name, value in cloud.items() if name.endswith("_commands") for command in value
    ]  # fmt: skip
    assert commands
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


# Kubernetes: RayJob, RayCluster


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    written = dict(yaml.safe_load(Path(__file__).with_name("rayjob_schema.yaml").read_text()))
    Draft202012Validator.check_schema(written)
    return written


@pytest.mark.parametrize(("name", "kind"), MANIFESTS.items())
def test_every_document_is_in_the_schema(name: str, kind: str, schema: dict[str, Any]) -> None:
    found = manifest(name)
    assert list(found) == ["PersistentVolumeClaim", "ServiceAccount", "PodDisruptionBudget", kind]
    for document in found.values():
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


def test_every_pod_has_the_claims_storage(documents: dict[str, dict[str, Any]]) -> None:
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert mounted[STORAGE]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_workers_scale_between_their_bounds_by_the_second_autoscaler(documents: dict[str, dict[str, Any]]) -> None:
    cluster = cluster_of(documents)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["minReplicas"] < group["maxReplicas"]


def test_gpu_workers_start_from_none_with_the_cuda_image(documents: dict[str, dict[str, Any]]) -> None:
    group = {group["groupName"]: group for group in cluster_of(documents)["workerGroupSpecs"]}["gpu-workers"]
    assert group["minReplicas"] == group["replicas"] == 0
    (container,) = group["template"]["spec"]["containers"]
    assert container["image"] == f"{IMAGE}-cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_every_pod_is_the_service_account_and_no_key_is_in_its_environment(
    documents: dict[str, dict[str, Any]],
) -> None:
    account = documents["ServiceAccount"]["metadata"]["name"]
    for template in templates(documents):
        assert template["spec"]["serviceAccountName"] == account
        assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
        assert not any("env" in container or "envFrom" in container for container in template["spec"]["containers"])


def test_the_budget_keeps_the_head_and_nothing_else(documents: dict[str, dict[str, Any]]) -> None:
    budget = documents["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 0
    wanted = budget["selector"]["matchLabels"].items()
    head, *workers = [template["metadata"]["labels"].items() for template in templates(documents)]
    assert wanted <= head
    assert not any(wanted <= worker for worker in workers)


def test_a_queue_is_named_and_may_admit_what_grows(documents: dict[str, dict[str, Any]]) -> None:
    (kind,) = documents.keys() & set(MANIFESTS.values())
    metadata = documents[kind]["metadata"]
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"]
    assert metadata["annotations"] == {"kueue.x-k8s.io/elastic-job": "true"}


def test_no_pod_runs_as_root(documents: dict[str, dict[str, Any]]) -> None:
    for pod in pods(documents):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == USER
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_is_of_the_pinned_version_everywhere(documents: dict[str, dict[str, Any]]) -> None:
    cluster = cluster_of(documents)
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["authOptions"] == {"mode": "token", "secretName": "kindred-token"}


def test_it_is_the_same_image_everywhere(documents: dict[str, dict[str, Any]]) -> None:
    images = {container["image"] for pod in pods(documents) for container in pod["containers"]}
    assert images == {IMAGE, f"{IMAGE}-cuda"}
    for file in ("Dockerfile", "README.md"):
        assert {IMAGE, f"{IMAGE}-cuda"} <= set(
            re.findall(rf"{re.escape(IMAGE)}(?:-cuda)?", (CLUSTER / file).read_text())
        )


# The image


def test_what_the_image_installs_is_pinned() -> None:
    installs = [arguments for name, arguments in dockerfile() if name == "RUN" and "pip install" in arguments]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in install for install in installs), "what is installed is not pinned"
    assert pinned("boto3")
    assert pinned("torch")


def test_both_variants_are_stages_and_what_builds_is_not_in_the_image() -> None:
    stages = [value for name, value in dockerfile() if name == "FROM"]
    assert {"base AS torch-cpu", "base AS torch-cuda", "torch-${VARIANT} AS build"} <= set(stages)
    assert stages[-1] == "base"
    assert ("ARG", "VARIANT=cpu") in dockerfile()


def test_the_extras_that_the_image_is_said_to_take_are_the_packages() -> None:
    said = {
        extra
        for names in re.findall(r"EXTRAS=([\w,]+)", (CLUSTER / "Dockerfile").read_text())
        for extra in names.split(",")
    }
    assert {"transformers", "wandb", "timm"} <= said <= set(PROJECT["project"]["optional-dependencies"])


def test_the_image_gets_what_the_package_is_made_of() -> None:
    copies = [value for name, value in dockerfile() if name == "COPY" and "--from" not in value]
    sources = [source for value in copies for source in shlex.split(value)[:-1]]
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
    assert [value for name, value in instructions if name == "USER"] == [str(USER)]  # a number: Kubernetes compares it
    (made,) = [value for name, value in instructions if name == "RUN" and "useradd" in value]
    name = re.search(rf"useradd --uid {USER} .*?(\w+) &&", made)
    assert name
    assert f"--owner {name[1]} --group {name[1]} {STORAGE}" in made


def test_the_dashboard_shows_gauges_that_there_are() -> None:
    dashboard = json.loads((CLUSTER / "grafana.json").read_text())
    shown = {
        name for panel in dashboard["panels"] for of in panel["targets"] for name in re.findall(r"ray_\w+", of["expr"])
    }
    assert {f"ray_{name}" for name in GAUGES} == shown
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        for of in panel["targets"]:
            tags = set(re.findall(r"{{(\w+)}}", of["legendFormat"]))
            names = {name.removeprefix("ray_") for name in re.findall(r"ray_\w+", of["expr"])}
            assert all(tags <= set(GAUGES[name][1]) for name in names)


def test_prometheus_reads_where_ray_lists_its_nodes() -> None:
    (job,) = yaml.safe_load((CLUSTER / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}]
