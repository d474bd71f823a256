"""The identity of a run: which settings its numbers depend on, so that another experiment can use it too."""

from dataclasses import dataclass
from typing import Any

from pipelines.base.fingerprint import fingerprint
from pipelines.case.case import Arm, Case
from pipelines.case.network import without_place
from pipelines.experiment.layout import WHO_TRAINS
from pipelines.experiment.run import Run

_DO_NOT_COUNT = {"name", "embedded", "data_root", "storage", "logging", "tuning", "evaluation", "ingest"}
_BELOW = {"training", "datasets", "relatedness", "arms"}


@dataclass(frozen=True)
class RunIdentity:
    """What names a run's numbers, beside the data, the versions and who trains (see provenance.py).

    Attributes:
        settings: fingerprint of all settings that the run depends on.
        but_steps: the same without the number of steps.
        planned: the number of steps that the case asks for.
    """

    settings: str
    but_steps: str
    planned: int


def identity(case: Case, run: Run, went_on_from: tuple[int, ...] = ()) -> RunIdentity:
    """Return a run's identity: the same in every experiment that would train the same network to the same numbers.

    The names of the case and of the arm, other arms, other seeds, the test data and how arms predict do not count.

    Args:
        case: the case, its scaling measured.
        run: the run.
        went_on_from: the steps at which it went on from a shorter run, whose learning rates were others.
    """
    case, arm = case.for_arm(run.arm), case.arms[run.arm]
    matched = arm.networks == "shared" and arm.matching != "none"
    # What is named here does not count, or counts in another form below; whatever is added to a case counts.
    settings: dict[str, Any] = case.model_dump(mode="json", by_alias=True, exclude=_BELOW | _DO_NOT_COUNT)
    training = case.training.model_dump(mode="json", by_alias=True)
    settings["network"] = without_place(settings["network"])
    steps = training.pop("steps")
    for key in (*WHO_TRAINS, "seeds", "matching", "balancing", "unlabelled"):
        del training[key]
    settings |= {
        "training": training,
        # What their rows hold is in the hashes of the blocks.
        "datasets": {
            name: of.model_dump(mode="json", exclude={"source", "select", "labels"}) | {"labels": sorted(of.labels)}
            for name, of in case.datasets.items()
            if of.split != "test"
        },
        "arm": _of_arm(arm),
        "batch": arm.batch if arm.networks == "one_per_task" or arm.tasks is not None else None,
        "matching": arm.matching.model_dump(mode="json", by_alias=True) if matched else None,  # type: ignore[union-attr]
        "relatedness": [edge.model_dump(mode="json", by_alias=True) for edge in case.relatedness] if matched else None,
        "balancing": (arm.balancing or case.training.balancing).model_dump(mode="json"),
        "unlabelled": case.unlabelled_of(run.arm).model_dump(mode="json"),
        "run": [run.network, list(run.tasks), run.seed],
        "went_on_from": list(went_on_from),
    }
    if case.evaluation.metrics:
        settings["metrics"] = case.evaluation.model_dump(mode="json")["metrics"]
    return RunIdentity(fingerprint(settings | {"steps": steps}), fingerprint(settings), steps)


def _of_arm(arm: Arm) -> dict[str, Any]:
    settings = arm.model_dump(mode="json", exclude={"infer", "fuse", "batch", "matching", "balancing", "unlabelled"})
    return without_place(settings) | {"network": settings["network"] and without_place(settings["network"])}
