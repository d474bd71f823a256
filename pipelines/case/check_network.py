"""Checks of networks: whether they can be built, and what they start from."""

from collections.abc import Iterator

from pipelines.base.errors import one_line
from pipelines.case.case import Case
from pipelines.case.data import (
    VectorInput,
)
from pipelines.case.exported_start import columns_problem
from pipelines.case.start import trained_on

_OF_IMAGES = ("small_cnn", "resnet_small")


def check_network(case: Case) -> Iterator[str]:
    """Say which networks cannot be built, or do not take the inputs that there are."""
    from pipelines.case.build import build_network

    drawn = case.network.model_copy(update={"pretrained": None, "pretrained_sha256": None})
    own = {f"arms.{name}.": of_arm for name in case.arms if (of_arm := case.for_arm(name)).network != case.network}
    own = {key: of_arm for key, of_arm in own.items() if of_arm.network != drawn}  # which is easier to build
    for key, of_arm in {"": case, **own}.items():
        used_by = [name for name in case.arms if case.for_arm(name).network == of_arm.network]
        tasks = list(case.tasks)
        if used_by and all(case.arms[name].networks == "one_per_task" for name in used_by):
            tasks = list(case.tasks_of_arm(used_by[0]))[:1]  # an export may hold a network a task, and no other
        if isinstance(case.input, VectorInput) and of_arm.network.backbone in _OF_IMAGES:
            yield (
                f"{key}network.backbone: found {of_arm.network.backbone!r}, which takes images, and inputs are vectors "
                f"of {case.input.size} numbers; expected mlp, flatten, or package.module:callable"
            )
            continue
        try:
            build_network(of_arm, tasks, seed=0)
        except ValueError as error:
            yield f"{key}network.{error}"
            continue
        except (RuntimeError, MemoryError, OverflowError) as error:  # a width of which torch has not the memory
            yield f"{key}network: cannot be built: {one_line(error)}"
            continue
        if isinstance(case.input, VectorInput) and (
            problem := columns_problem(of_arm, [one.name for one in case.input.table_columns])
        ):
            yield problem


def check_warm_start(case: Case) -> Iterator[str]:
    """What several tasks were trained on is no start for a network that is to show what one task does alone."""
    networks = {"network": case.network} | {
        f"arms.{name}.network": arm.network for name, arm in case.arms.items() if arm.network is not None
    }
    for key, network in networks.items():
        for what, off in (("freeze_steps", 0), ("layer_decay", 1.0)):
            if getattr(network, what) != off and not network.pretrained:
                yield f"{key}.{what}: found {getattr(network, what)}; expected {key}.pretrained too, which it is for"
        if network.layer_decay != 1.0 and network.sharing.kind != "hard":
            yield (
                f"{key}.layer_decay: found {network.layer_decay} with sharing {network.sharing.kind!r}, whose layers "
                "are not one after the other; expected 1, or sharing: hard"
            )
    for name, arm in case.arms.items():
        if arm.networks != "one_per_task" or arm.pretrained is not None:
            continue
        place = case.for_arm(name).network.pretrained
        try:
            together = next((on for task in case.tasks_of_arm(name) if len(on := trained_on(place, [task])) > 1), None)
        except (OSError, ValueError):
            continue  # reported where the network is built
        if together:
            yield (
                f"arms.{name}.pretrained: missing; network.pretrained {place!r} was trained on {', '.join(together)} "
                "together, so a network of one task would start from co-training; expected false (from drawn weights) "
                "or true (from these)"
            )
