"""Learning-rate schedules: a function of the step alone, against torch's own schedulers."""

import pytest
import torch
from torch.optim import lr_scheduler as of_torch

from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.train.lr_schedule import learning_rate

STEPS, LR = 40, 0.3


def rates(schedule):
    training = load_case(
        "digits", [f"training.steps={STEPS}", f"training.optimizer.lr={LR}", f"training.schedule={schedule}"]
    ).training
    return [learning_rate(training, step) for step in range(STEPS)]


def warmed(optimizer, steps, after):
    first = of_torch.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return of_torch.SequentialLR(optimizer, [first, after], milestones=[steps])


def chained(optimizer, steps, other):
    first = of_torch.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return of_torch.ChainedScheduler([first, other])


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        ("constant", lambda o: of_torch.ConstantLR(o, factor=1.0)),
        ("cosine", lambda o: of_torch.CosineAnnealingLR(o, STEPS)),
        ("{kind: cosine, end: 0.1}", lambda o: of_torch.CosineAnnealingLR(o, STEPS, eta_min=0.1 * LR)),
        (
            "{kind: cosine, warmup_steps: 7}",
            lambda o: warmed(o, 7, of_torch.CosineAnnealingLR(o, STEPS - 7)),
        ),
        ("{kind: linear, end: 0.2}", lambda o: of_torch.LinearLR(o, 1.0, 0.2, STEPS)),
        ("{kind: linear, warmup_steps: 5}", lambda o: warmed(o, 5, of_torch.LinearLR(o, 1.0, 0.0, STEPS - 5))),
        ("{kind: step, every: 9, factor: 0.5}", lambda o: of_torch.StepLR(o, 9, 0.5)),
        (
            "{kind: step, every: 9, factor: 0.5, warmup_steps: 12}",
            lambda o: chained(o, 12, of_torch.StepLR(o, 9, 0.5)),
        ),
        ("{kind: multistep, milestones: [10, 25]}", lambda o: of_torch.MultiStepLR(o, [10, 25], 0.1)),
        (
            "{kind: multistep, milestones: [10, 25], warmup_steps: 4}",
            lambda o: chained(o, 4, of_torch.MultiStepLR(o, [10, 25], 0.1)),
        ),
        ("{kind: constant, warmup_steps: 3}", lambda o: of_torch.LinearLR(o, 1 / 4, 1.0, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*epoch parameter.*")
def test_a_schedule_is_torchs_of_the_same_name(schedule, reference):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = reference(optimizer)
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(schedule) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.schedule=cosin", "training.schedule.kind: found 'cosin'"),
        ("training.schedule={kind: step}", "training.schedule"),
        ("training.schedule={kind: linear, warmup_steps: 40}", "expected fewer than training.steps (40)"),
        ("training.schedule={kind: multistep, milestones: [10, 5]}", "found [10, 5]; expected rising"),
        ("training.schedule={kind: multistep, milestones: [50]}", "each below training.steps (40)"),
    ],
)
def test_a_mistake_is_told_by_its_key(override, words):
    with pytest.raises(UserError) as caught:
        load_case("digits", [f"training.steps={STEPS}", override])
    assert words in str(caught.value)
