"""Which failures of a worker are its run's own, and which those of the workers around it."""

import pytest
import torch
import torch.distributed as dist

from pipelines.train.failure import is_peer_failure
from pipelines.train.logs.loss_history import LossNotFiniteError


def test_a_process_group_that_was_taken_away_is_no_failure_of_the_run():
    """As Ray does before it starts another number of workers: a step may then be on its way."""
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="process group") as raised:
        dist.all_reduce(torch.ones(1))
    assert is_peer_failure(raised.value)


@pytest.mark.parametrize(
    "error",
    [ValueError("expected 3 classes"), RuntimeError("shapes differ"), LossNotFiniteError("gloo"), KeyError("x")],
)
def test_what_the_network_or_the_data_do_is_the_runs_own(error):
    assert not is_peer_failure(error)
