"""Whatever the network, DM and SCA make the task with few labels better than naive joint training: for real."""

import pytest
import torch

from mtlcore import (
    AttentionTrunk,
    CrossStitch,
    DSelectK,
    LearnedBranching,
    MultiGateMixtureOfExperts,
    MultiTaskNetwork,
    ProgressiveLayeredExtraction,
    build_backbone,
    seeded_init,
)
from tests.mtlcore.small_digits import CO_TRAINED, NAIVE, TASKS, accuracy_of_the_digit, pictures_and_labels, train

NAMES = [task.name for task in TASKS]
CONVNEXT = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "patch_size": 1}
BACKBONES = {
    "an MLP": ("mlp", {"widths": (64, 64)}, 200),
    "a CNN": ("small_cnn", {"widths": (16, 32)}, 120),
    "a ConvNeXt of transformers": ("hf:convnext", {"options": CONVNEXT}, 120),
}
SHARING = {
    "hard": lambda backbone, features: (backbone, features),
    "cross_stitch": lambda *given: (CrossStitch(*given, NAMES), given[1]),
    "mtan": lambda *given: (AttentionTrunk(*given, NAMES), given[1]),
    "ltb": lambda *given: (LearnedBranching(*given, NAMES, cooling_steps=100), given[1]),
    "dselect_k": lambda *given: (DSelectK(*given, NAMES, expert_widths=(64,)), 64),
    "mmoe": lambda *given: (MultiGateMixtureOfExperts(*given, NAMES, expert_widths=(64,)), 64),
    "cgc": lambda *given: (ProgressiveLayeredExtraction(*given, NAMES, expert_widths=(64,)), 64),
    "ple": lambda *given: (ProgressiveLayeredExtraction(*given, NAMES, levels=2, expert_widths=(64,)), 64),
}


def gains(backbone, sharing, seeds):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, labels = pictures_and_labels()
    name, more, steps = BACKBONES[backbone]
    found = []
    for seed in seeds:
        accuracy = []
        for loss in (NAIVE, CO_TRAINED):
            with seeded_init(seed):
                trunk, features = SHARING[sharing](*build_backbone(name, (1, 8, 8), **more))
                network = MultiTaskNetwork(trunk, features, TASKS)
            train(network, loss, x, labels, seed=seed, steps=steps)
            accuracy.append(accuracy_of_the_digit(network, x, labels))
        found.append(accuracy[1] - accuracy[0])
    torch.set_num_threads(threads)
    return found


@pytest.mark.parametrize("backbone", BACKBONES)
def test_co_training_is_ahead_of_naive_on_every_seed_whatever_the_backbone(backbone):
    found = gains(backbone, "hard", seeds=(0, 1, 2))
    assert min(found) > 0
    assert sum(found) / 3 > 0.03


@pytest.mark.parametrize("sharing", [kind for kind in SHARING if kind != "hard"])
def test_co_training_is_ahead_of_naive_however_tasks_share(sharing):
    assert sum(gains("an MLP", sharing, seeds=(0, 1))) / 2 > 0.03
