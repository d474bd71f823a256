"""Strip a trained network of its auxiliary tasks, for inference."""

from collections.abc import Sequence

from mtlcore.networks.multi_task_network import MultiTaskNetwork
from mtlcore.tasks import Task


def without_auxiliary(network: MultiTaskNetwork, tasks: Sequence[Task]) -> MultiTaskNetwork:
    """Return a copy of a network that serves the tasks that are not auxiliary, with the same logits.

    An auxiliary task is there for training: measurements that arrive after prediction time, features too costly to
    have at run time, another model's outputs (Caruana, "Multitask Learning", 1997, section 5). Its head goes, and
    so do the parts that only it uses (its experts and gates).

    Args:
        network: the network as it was trained.
        tasks: its tasks; a task of another network takes no part.

    Raises:
        ValueError: every task of the network is auxiliary.

    Example:
        >>> from mtlcore import Multiclass, MultiTaskNetwork, mlp, without_auxiliary
        >>> tasks = [Multiclass("risk", ("low", "high")), Multiclass("outcome", ("well", "ill"), auxiliary=True)]
        >>> backbone, features = mlp((8,), hidden=(16,))
        >>> without_auxiliary(MultiTaskNetwork(backbone, features, tasks), tasks).task_names
        ('risk',)
    """
    auxiliary = {task.name for task in tasks if task.auxiliary}
    kept = [name for name in network.task_names if name not in auxiliary]
    if not kept:
        raise ValueError(f"tasks: {', '.join(network.task_names)}: all auxiliary; one at least must be for use")
    return network.restrict_to_tasks(kept)
