"""Checks of a search by population-based training."""

from collections.abc import Iterator

from pipelines.case.by_step import may_change
from pipelines.case.case import Case
from pipelines.case.search_parameters import Parameter
from pipelines.case.search_spaces import load_space

_LEAST = 4
_FOUND = "tuning.search: found 'pbt'"


def check_population(case: Case) -> Iterator[str]:
    """Say what a population cannot search, and what would end or rank its trials beside it."""
    from mtlcore.balancing import balancing_class

    tuning, training = case.tuning, case.training
    yield from _keys(case)
    if tuning.trials < _LEAST:
        yield (
            f"tuning.trials: found {tuning.trials} with pbt; expected {_LEAST} at least, "
            "of which the worst quarter goes on from the best"
        )
    every = training.validation.every_steps
    if every is None:
        yield f"{_FOUND}, which compares trials as they train; expected training.validation.every_steps"
    elif tuning.perturb_every is not None and (tuning.perturb_every % every or tuning.perturb_every >= training.steps):
        yield (
            f"tuning.perturb_every: found {tuning.perturb_every}; expected a multiple of "
            f"training.validation.every_steps, {every}, below training.steps, {training.steps}"
        )
    elif every >= training.steps:
        yield f"{_FOUND}, and training.validation.every_steps {every}; expected less than training.steps"
    if tuning.scheduler not in (None, "none"):
        yield f"tuning.scheduler: found {tuning.scheduler!r} with pbt, which ends no trial; expected none"
    for key in ("hours", "gpu_hours"):
        if getattr(tuning, key) is not None:
            yield f"tuning.{key}: found with pbt, whose trials all begin at once; expected trials and training.steps"
    if tuning.objective == "pareto":
        yield "tuning.objective: found 'pareto' with pbt, which ranks trials by one score; expected another"
    if training.early_stopping is not None:
        yield "training.early_stopping: found with pbt, whose trials wait for each other; expected none"
    if (arm := case.arms.get(tuning.arm)) is None:
        return
    if arm.networks != "shared":
        yield f"{_FOUND} for arm {tuning.arm!r} of a network a task; expected one of a shared network"
    method = (arm.balancing or training.balancing).method
    if balancing_class(method).reads_progress:
        yield (
            f"{_FOUND}, whose weights change as a run trains, and balancing {method!r} compares losses of different "
            "steps; expected fixed, or a method of gradients"
        )


def _keys(case: Case) -> Iterator[str]:
    """Say which searched keys cannot change while a run trains."""
    try:
        space = load_space(case.tuning.space, case.model_dump(mode="json", by_alias=True), case.tuning.arm)
    except ValueError as error:
        if isinstance(case.tuning.space, str):  # else it has been said
            yield f"tuning.space: {error}"
        return
    fixed = [key for key in space if not may_change(key)]
    if fixed:
        yield (
            f"tuning.space: found {', '.join(fixed)} with pbt, which cannot change while a run trains; expected "
            "weights and temperatures alone, as the spaces schedules and temperatures have"
        )
        return
    if conditional := [key for key, how in space.items() if how.when]:
        yield (
            f"tuning.space: found a condition at {', '.join(conditional)}, and with pbt values move one by one; "
            "expected none"
        )
    # A loss whose weight is 0 from the beginning is not there, and neither is what it keeps in a run's state.
    if zero := [key for key, how in space.items() if ".task_weights." not in key and _draws_zero(how)]:
        yield (
            f"tuning.space: found 0 among the values of {', '.join(zero)} with pbt, whose trials go on from others in "
            "which that loss is not there; expected values above 0, such as {loguniform: [0.01, 3]}"
        )
        return
    for key, how in space.items():
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in how.values):
            yield f"tuning.space: {key}: found {list(how.values)} with pbt; expected numbers"


def _draws_zero(how: Parameter) -> bool:
    return 0 in how.values or (how.kind == "randint" and how.low == 0)
