"""Checks of what a step cannot do: methods of balancing, in pieces, in shards, replayed on a GPU."""

from collections.abc import Iterator

from pipelines.case.case import Case
from pipelines.case.check_tasks import check_relatedness
from pipelines.case.training import Matching


def check_balancing(case: Case) -> Iterator[str]:
    """Say which methods of balancing do not suit the losses of an arm."""
    import torch

    from pipelines.case.build import build_balancing, build_loss

    if any(check_relatedness(case)):
        return  # reported already; a loss cannot be built
    reported: set[str] = set()
    for name, arm in case.arms.items():
        if not (served := list(case.tasks_of_arm(name))):
            continue  # reported elsewhere
        tasks = served if arm.networks == "shared" else served[:1]
        # A stand-in for the backbone: methods look for a matrix, whatever its shape.
        shared = [torch.zeros(1, 1, requires_grad=True)]
        try:
            build_balancing(case, name, build_loss(case.for_arm(name), tasks, arm.matching, {}), shared, [], seed=0)
        except ValueError as error:
            problem = f"{f'arms.{name}' if arm.balancing else 'training'}.balancing.{error}"
            if problem not in reported:
                reported.add(problem)
                yield problem


def check_pieces_and_shards(case: Case) -> Iterator[str]:
    """Say what cannot be computed in pieces, in shards, or replayed."""
    from mtlcore.balancing import BALANCERS, balancing_class

    if case.training.shard and case.training.compile:
        found = "'step'" if case.training.compile == "step" else "true"
        yield f"training.compile: found {found}, and training.shard too; expected one of the two"
    yield from _replayed_steps(case)
    requirements = {
        "in_pieces": (case.training.accumulate > 1, f"training.accumulate: found {case.training.accumulate}"),
        "in_shards": (case.training.shard, "training.shard: found true"),
    }
    methods = {(arm.balancing or case.training.balancing).method for arm in case.arms.values()}
    for ability, (needed, setting) in requirements.items():
        capable = [name for name in BALANCERS.built_in if getattr(balancing_class(name), ability)]
        for method in sorted(methods) if needed else ():
            if not getattr(balancing_class(method), ability):
                yield (
                    f"{setting}, and balancing {method!r} needs more than that leaves; "
                    f"expected one of {', '.join(capable)}"
                )


def _replayed_steps(case: Case) -> Iterator[str]:
    """Say what a GPU could not replay: a step that waits for values, or that changes what no tensor holds."""
    from mtlcore.balancing import balancing_class

    training = case.training
    if training.compile != "step" or training.device != "cuda":
        return
    found = "training.compile: found 'step'"
    if training.max_workers > 1:
        yield (
            f"{found} for up to {training.max_workers} workers; sums over workers inside a replayed step are not "
            "supported; expected true, or one worker"
        )
    if training.optimizer.name not in ("adamw", "sgd"):
        yield f"{found} with optimizer {training.optimizer.name!r}; expected adamw or sgd, or compile: true"
    for method in sorted({(arm.balancing or training.balancing).method for arm in case.arms.values()}):
        if not balancing_class(method).in_graphs:
            yield (
                f"{found} with balancing {method!r}, which looks at values or keeps some from step to step; "
                "expected fixed, or compile: true"
            )
    matchings = [arm.matching for arm in case.arms.values() if isinstance(arm.matching, Matching)]
    if any(matching.sca.weight and matching.sca.prior != "labels" for matching in matchings):
        yield f"{found} with priors that are estimated from step to step; expected compile: true"
    sections = [arm.unlabelled or training.unlabelled for arm in case.arms.values()]
    if any(section.has_losses or section.has_average for section in sections):
        yield f"{found} with losses of unlabelled inputs or a moving average; expected neither, or compile: true"
    own = {name for matching in matchings for name, added in matching.added.items() if added.weight}
    for name in sorted(own):
        yield f"{found} with the pair loss {name!r}, which may look at values; expected compile: true"
