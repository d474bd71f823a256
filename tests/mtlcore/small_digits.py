"""scikit-learn's digits as two disjoint sources, for tests that train for real: a few with the digit, more with traits.

What :func:`train` does is the whole method in a dozen lines: one forward pass over a mixed batch, masked losses, DM
and SCA, in anybody's loop.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from mtlcore import (
    DistributionMatching,
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    task_metrics,
)

DIGIT = Multiclass("digit", tuple("0123456789"))
TRAITS = Multilabel("traits", ("even", "prime", "at_least_five", "closed_loop", "straight_stroke", "multiple_of_three"))
TASKS = [DIGIT, TRAITS]
TABLE = [
    ("even", "closed_loop", "multiple_of_three"),
    ("straight_stroke",),
    ("even", "prime"),
    ("prime", "multiple_of_three"),
    ("even", "straight_stroke"),
    ("prime", "at_least_five", "straight_stroke"),
    ("even", "at_least_five", "closed_loop", "multiple_of_three"),
    ("prime", "at_least_five", "straight_stroke"),
    ("even", "at_least_five", "closed_loop"),
    ("at_least_five", "closed_loop", "multiple_of_three"),
]
R = Relatedness.from_rows(DIGIT, TRAITS, dict(zip(DIGIT.classes, TABLE, strict=True)))
NAIVE = JointLoss(TASKS, [RelatedPair(R)])
CO_TRAINED = JointLoss(TASKS, [RelatedPair(R, DistributionMatching(0.3), SoftCoAnnotation(1.0, tau_co=0.1))])

WITH_DIGIT, WITH_TRAITS, TEST = 50, 947, 500


def pictures_and_labels():
    """Images (N, 1, 8, 8) and, by task, labels: the first 50 carry the digit, 947 others traits, 500 both."""
    digits = load_digits()
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(digits.target))[: WITH_DIGIT + WITH_TRAITS + TEST]
    x = torch.tensor(digits.images[order], dtype=torch.float32)[:, None] / 8 - 1
    digit = torch.tensor(digits.target[order])
    traits = R.table[digit].long()
    digit[WITH_DIGIT : WITH_DIGIT + WITH_TRAITS] = -1
    traits[:WITH_DIGIT] = -1
    return x, {"digit": digit, "traits": traits}


def train(network, loss, x, labels, *, seed, steps=200, lr=3e-3):
    """Train on mixed batches of 16 images with the digit and 48 with traits."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.cat(
            [
                torch.randint(WITH_DIGIT, (16,), generator=generator),
                torch.randint(WITH_DIGIT, WITH_DIGIT + WITH_TRAITS, (48,), generator=generator),
            ]
        )
        value = loss(network(x[rows]), {name: y[rows] for name, y in labels.items()})
        optimizer.zero_grad()
        value.loss.backward()
        optimizer.step()
        schedule.step()


def accuracy_of_the_digit(network, x, labels):
    with torch.no_grad():
        logits = network.eval()(x[-TEST:])
    return task_metrics(logits["digit"], labels["digit"][-TEST:], DIGIT)["accuracy"]
