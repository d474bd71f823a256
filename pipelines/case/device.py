"""``training.device: auto``: a GPU for every worker where there are so many, else the CPU."""

from pipelines.base.ray_session import is_own_ray, need_ray
from pipelines.case.case import Case


def with_device(case: Case) -> Case:
    """Put ``cuda`` or ``cpu`` in the place of ``auto``, by what is there now: on this machine, or in the cluster."""
    if case.training.device != "auto":
        return case
    device = "cuda" if _gpus() >= case.training.min_workers else "cpu"
    return case.model_copy(update={"training": case.training.model_copy(update={"device": device})})


def _gpus() -> int:
    if is_own_ray():
        import torch

        return torch.cuda.device_count()
    need_ray()
    import ray

    return int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else 0
