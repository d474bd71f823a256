"""Validation across sections of a case file: what is wrong with a case, and what a machine lacks for it."""

import os
import shutil
import sys
from importlib.util import find_spec

from pipelines.case.build_network import builds_anywhere
from pipelines.case.case import Case
from pipelines.case.check_arms import check_arms, check_metrics, check_tuning
from pipelines.case.check_by_step import check_by_step
from pipelines.case.check_data import check_datasets, check_source_paths
from pipelines.case.check_network import check_network
from pipelines.case.check_steps import check_balancing, check_pieces_and_shards
from pipelines.case.check_tasks import check_relatedness, check_tasks
from pipelines.case.check_training import (
    check_pair_losses,
    check_training,
    check_unlabelled,
    check_validation,
    check_warm_up,
)
from pipelines.case.label_models import label_model_problems


def check_case(case: Case, *, check_paths: bool = True) -> list[str]:
    """Return what is wrong with a case, one line per mistake: ``key: what was found; what would be right``.

    With ``check_paths`` False, nothing is looked up below data_root: it lies on another machine.
    """
    paths = (check_source_paths, label_model_problems) if check_paths else ()
    network = (check_network,) if check_paths or builds_anywhere(case.network) else ()
    checks = (
        check_tasks,
        check_relatedness,
        check_datasets,
        *paths,
        check_training,
        check_metrics,
        check_validation,
        check_arms,
        check_pair_losses,
        check_balancing,
        check_pieces_and_shards,
        check_warm_up,
        check_by_step,
        check_unlabelled,
        check_tuning,
        *network,
    )
    problems: list[str] = []
    for check in checks:
        problems += check(case)
        if problems and check in (check_tasks, check_relatedness, check_pair_losses, check_balancing):
            break  # what follows builds on these
    return problems


def check_machine(case: Case) -> list[str]:
    """Return what training needs and this machine lacks, a line a mistake; for a Ray of this machine's own."""
    training, problems = case.training, []
    mode = case.logging.wandb.mode
    wandb = find_spec("wandb")
    if mode != "disabled" and (wandb is None or wandb.origin is None):  # a folder `wandb` is no package
        problems.append(
            f"logging.wandb.mode: found {mode!r}, and wandb is not installed; "
            "pip install 'kindred-mtl[wandb]' installs it"
        )
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    found = "'step'" if training.compile == "step" else "true"
    if training.compile and shutil.which(compiler) is None:
        problems.append(
            f"training.compile: found {found}, and there is no C++ compiler {compiler!r} on this machine; "
            "expected one there, or its path in the environment variable CXX"
        )
    if training.device == "cuda":
        import torch

        if (gpus := torch.cuda.device_count()) < training.min_workers:
            problems.append(
                f"training.device: found 'cuda' for {training.min_workers} workers, and torch finds {gpus} GPUs on "
                "this machine; expected cpu, or RAY_ADDRESS set to a cluster that has them"
            )
    return problems
