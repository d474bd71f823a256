"""Fixed loss weights: the joint loss as it is."""

from typing import ClassVar

from mtlcore.balancing.balancer import Balancer
from mtlcore.losses.joint_loss import JointLossValue


class FixedWeights(Balancer):
    """Weigh every objective as the user did (alpha_t, lambda): plain joint training.

    R. Caruana, "Multitask Learning", Machine Learning 28 (1997). One backward pass.
    """

    in_pieces: ClassVar[bool] = True
    in_shards: ClassVar[bool] = True
    in_graphs: ClassVar[bool] = True

    def backward(self, value: JointLossValue) -> None:
        """Call ``value.loss.backward()``."""
        value.loss.backward()  # type: ignore[no-untyped-call]
