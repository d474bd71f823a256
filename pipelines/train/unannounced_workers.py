"""Workers of a group that no autoscaler is told of; needs a Ray Train whose internals are those of 2.60."""

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class UnannouncedWorkers(FixedScalingPolicy):  # type: ignore[misc]
    """As many workers as asked for, and nobody asked to make room for them.

    Ray Train's own policy starts an actor that keeps an autoscaler's books, and starts workers when that has answered.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Announce nothing."""

    def _maybe_send_resource_request(self) -> None:
        pass


def unannounced(policy: Any) -> Any:
    """Return a policy for as many workers without announcing them, or the same where their number may change."""
    return UnannouncedWorkers(policy.scaling_config) if type(policy) is FixedScalingPolicy else policy
