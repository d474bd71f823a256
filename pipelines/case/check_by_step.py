"""Checks of weights and temperatures that change with the step."""

from collections.abc import Iterator, Mapping

from pipelines.case.by_step import ByStep, changes
from pipelines.case.case import Case
from pipelines.case.check_training import methods_beside_changes
from pipelines.case.training import Matching


def check_by_step(case: Case) -> Iterator[str]:
    """Say which changes never come, and where a method that compares losses would be misled by them."""
    from mtlcore.balancing import balancing_class

    steps = case.training.steps
    for key, value in _all(case).items():
        for step in changes([value]):
            if step >= steps:
                yield f"{key}: found the step {step}; expected steps below training.steps, {steps}"
                break
    for name, arm in case.arms.items():
        if not (changing := [key for key, value in _of_arm(case, name).items() if changes([value])]):
            continue
        method = (arm.balancing or case.training.balancing).method
        if balancing_class(method).reads_progress:
            yield (
                f"{changing[0]}: found one that changes with the step, and balancing {method!r} compares losses of "
                f"different steps; expected a number, or {methods_beside_changes()}"
            )
            return


def _all(case: Case) -> dict[str, ByStep]:
    """Return all that may change, by the key under which it is said first."""
    found = _of_training(case)
    for name, arm in case.arms.items():
        if isinstance(arm.matching, Matching):
            own = _of_matching(f"arms.{name}.matching", arm.matching)
            said = _of_matching("training.matching", case.training.matching)
            found |= {
                key: value
                for key, value in own.items()
                if said.get(key.replace(f"arms.{name}.", "training.", 1)) != value
            }
        found |= _of_tasks(f"arms.{name}", arm.task_weights or {})
    return found


def _of_training(case: Case) -> dict[str, ByStep]:
    edges = {f"relatedness.{i}.weight": edge.weight for i, edge in enumerate(case.relatedness)}
    of_tasks = _of_tasks("training", case.training.task_weights)
    return of_tasks | _of_matching("training.matching", case.training.matching) | edges


def _of_arm(case: Case, name: str) -> dict[str, ByStep]:
    """Return what of an arm may change."""
    arm, edges = case.arms[name], {}
    found = _of_tasks("training", case.training.task_weights)
    if arm.task_weights is not None:
        found = _of_tasks(f"arms.{name}", arm.task_weights)
    if isinstance(arm.matching, Matching) and arm.networks == "shared":
        section = "training" if arm.matching == case.training.matching else f"arms.{name}"
        edges = {f"relatedness.{i}.weight": edge.weight for i, edge in enumerate(case.relatedness)}
        found |= _of_matching(f"{section}.matching", arm.matching)
    return found | edges


def _of_tasks(section: str, weights: Mapping[str, ByStep]) -> dict[str, ByStep]:
    return {f"{section}.task_weights.{task}": weight for task, weight in weights.items()}


def _of_matching(section: str, matching: Matching) -> dict[str, ByStep]:
    added = {f"{section}.{name}.weight": loss.weight for name, loss in matching.added.items()}
    return {
        f"{section}.dm.weight": matching.dm.weight,
        f"{section}.dm.tau": matching.dm.tau,
        f"{section}.sca.weight": matching.sca.weight,
        f"{section}.sca.tau_co": matching.sca.tau_co,
        f"{section}.ill.weight": matching.ill.weight,
    } | added
