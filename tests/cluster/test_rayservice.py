"""The RayService names an application that is there, with arguments that it takes."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).parents[2] / "cluster" / "rayservice.yaml"


def test_its_serve_configuration_is_one_that_ray_takes_and_its_builder_is_there():
    pytest.importorskip("starlette", reason="the extra [serve] is not installed")
    from ray.serve.schema import ServeDeploySchema

    service = yaml.safe_load(FILE.read_text())
    assert service["kind"] == "RayService"
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(import_module(module), name))
    assert application.args["token_file"].startswith("/etc/kindred/")


def test_every_container_runs_without_privileges_and_mounts_the_token_read_only():
    spec = yaml.safe_load(FILE.read_text())["spec"]["rayClusterConfig"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert all(mount["readOnly"] for mount in container["volumeMounts"])
