"""What every search is compared with: the tuned arm with all couplings off, and a network for every task."""

from pipelines.case.case import Arm, Case
from pipelines.case.training import Matching

NAIVE, SINGLE_TASK = "naive", "single-task"


def baselines_of(case: Case) -> tuple[str, ...]:
    """Return the names of the baselines that a case has: not those that would be the tuned arm itself."""
    arm = case.arms[case.tuning.arm]
    shared = arm.networks == "shared"
    naive = (NAIVE,) if isinstance(arm.matching, Matching) and shared else ()
    return (*naive, SINGLE_TASK) if shared and len(case.tasks_of_arm(case.tuning.arm)) > 1 else naive


def baseline_arm(case: Case, name: str) -> Arm:
    """Return the arm of a baseline: the case's own single-task networks where it has some, with its settings."""
    tuned = case.arms[case.tuning.arm]
    if name == NAIVE:
        return tuned.model_copy(update={"matching": "none", "infer": "heads", "fuse": None})
    own = [
        arm
        for arm in case.arms.values()
        if arm.networks == "one_per_task" and not (arm.shuffle or arm.reads_the_table or arm.tasks)
    ]
    if own:
        return own[0]
    return Arm(networks="one_per_task", matching="none", pretrained=tuned.pretrained, tasks=tuned.tasks)
