"""The multi-task network: a backbone with one head per task."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtlcore.networks.heads import head_of
from mtlcore.networks.trunk import TaskTrunk
from mtlcore.suggestions import did_you_mean
from mtlcore.tasks import Task


class MultiTaskNetwork(nn.Module):
    """One backbone, one head per task (Caruana, "Multitask Learning", Machine Learning 28, 1997).

    With a plain backbone this is hard parameter sharing: every task gets the same features. With a trunk
    (:class:`mtlcore.CrossStitch`, :class:`mtlcore.MultiGateMixtureOfExperts`,
    :class:`mtlcore.ProgressiveLayeredExtraction`) every task gets features of its own. The features that go into a
    task's head are the input of ``heads[f"{task}_head"]``.

    Args:
        backbone: maps inputs of shape (N, ...) to features of shape (N, features); or a trunk.
        features: the number of features.
        tasks: the tasks; each gets a head of its kind; see :mod:`mtlcore.networks.heads`.
        head_hidden: hidden widths of every head, an MLP; linear heads where there are none.

    Raises:
        ValueError: the trunk serves other tasks or has another number of features.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, MultiTaskNetwork, mlp
        >>> backbone, features = mlp((8,), hidden=(16,))
        >>> network = MultiTaskNetwork(backbone, features, [Multiclass("digit", ("zero", "one"))])
        >>> network(torch.zeros(3, 8))["digit"].shape
        torch.Size([3, 2])
    """

    def __init__(
        self, backbone: nn.Module, features: int, tasks: Sequence[Task], *, head_hidden: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.task_names = tuple(task.name for task in tasks)
        if isinstance(backbone, TaskTrunk) and (backbone.task_names, backbone.features) != (self.task_names, features):
            raise ValueError(
                f"backbone: found a trunk with {backbone.features} features for {', '.join(backbone.task_names)}; "
                f"expected one with {features} for {', '.join(self.task_names)}"
            )
        # With an ending of its own, a task may be called what a ModuleDict already has: type, keys, train.
        self.heads = nn.ModuleDict({f"{task.name}_head": head_of(task, features, head_hidden) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits by task, shape (N, task.width), from one pass through the backbone."""
        return self.from_features(self.features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return what goes into each task's head, shape (N, features); with a plain backbone it is the same tensor."""
        # A worker's shard may be empty, and many a module cannot reshape nothing: two inputs go through, none is kept.
        # x.shape[0], not len(x): in an exported program the size of a batch stays open.
        h = self.backbone(x if x.shape[0] else x.new_zeros(2, *x.shape[1:]))
        of_task = h if isinstance(self.backbone, TaskTrunk) else dict.fromkeys(self.task_names, h)
        if not x.shape[0]:
            of_task = {name: features[:0] for name, features in of_task.items()}
        return {name: of_task[name] for name in self.task_names}

    def from_features(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits by task, shape (N, outputs of the task), from what :meth:`features` returns."""
        return {name: self.heads[f"{name}_head"](features[name]) for name in self.task_names}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained and that more than one task uses: none where there is one task."""
        if len(self.task_names) < 2:
            return []
        if isinstance(self.backbone, TaskTrunk):
            # A set for each task: a parameter that one task uses twice is shared with nobody.
            users = Counter(id(p) for name in self.task_names for p in {*self.backbone.used_by(name)})
        else:
            users = Counter({id(parameter): len(self.task_names) for parameter in self.backbone.parameters()})
        return [p for p in self.backbone.parameters() if p.requires_grad and users[id(p)] > 1]

    def restrict_to_tasks(self, task_names: Sequence[str]) -> "MultiTaskNetwork":
        """Return a copy that serves some of the tasks, without the parts that only the others use.

        Args:
            task_names: the tasks to keep, at least one.

        Raises:
            ValueError: there is none, or one of them is not served.
        """
        for name in task_names:
            if name not in self.task_names:
                raise ValueError(f"task_names: there is no task {name!r}{did_you_mean(name, self.task_names)}")
        if not task_names:
            raise ValueError(f"task_names: found none; expected one of {', '.join(self.task_names)} at least")
        # A copy: training may go on with the whole network.
        network = copy.deepcopy(self)
        network.task_names = tuple(name for name in self.task_names if name in task_names)
        network.heads = nn.ModuleDict({f"{name}_head": network.heads[f"{name}_head"] for name in network.task_names})
        if isinstance(network.backbone, TaskTrunk):
            network.backbone.keep(network.task_names)
        return network
