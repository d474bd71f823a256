"""The built-in networks."""

import pytest
import torch

from mtlcore import Multiclass, MultiTaskNetwork, mlp, seeded_init, small_cnn


@pytest.mark.parametrize("name", ["type", "keys", "train", "values", "forward"])
def test_a_task_may_be_called_anything(name):
    backbone, features = mlp((4,), (8,))
    network = MultiTaskNetwork(backbone, features, [Multiclass(name, ("a", "b"))])
    assert network(torch.zeros(2, 4))[name].shape == (2, 2)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_batch_of_any_size_goes_through(rows):
    backbone, features = small_cnn((3, 16, 16), (8, 16))
    assert backbone(torch.zeros(rows, 3, 16, 16)).shape == (rows, features)


def test_relu_after_the_pooling_gives_the_bits_of_relu_before_it():
    fast, _ = small_cnn((3, 16, 16), (8, 16))
    written = torch.nn.Sequential(*(fast[i] for i in (0, 1, 3, 2, 4, 5, 7, 6, 8)))
    assert [type(layer).__name__ for layer in written[:4]] == ["Conv2d", "GroupNorm", "ReLU", "MaxPool2d"]
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[0], x[1, :, :8] = 0, -3  # maps that are negative, and ones that are the same all over
    found = []
    for network in (fast, written):
        network.zero_grad()
        network(x).pow(2).sum().backward()
        found.append((network(x), [parameter.grad for parameter in network.parameters()]))
    assert torch.equal(found[0][0], found[1][0])
    assert all(map(torch.equal, found[0][1], found[1][1]))


def test_the_backbone_is_what_tasks_share_and_a_single_task_shares_nothing():
    backbone, features = mlp((4,), (8, 8))
    a, b = Multiclass("a", ("x", "y")), Multiclass("b", ("x", "y"))
    shared = MultiTaskNetwork(backbone, features, [a, b]).shared_parameters()
    assert {id(parameter) for parameter in shared} == {id(parameter) for parameter in backbone.parameters()}
    assert MultiTaskNetwork(backbone, features, [a]).shared_parameters() == []


def test_parameters_come_from_the_seed_and_nobody_elses_random_state_is_touched():
    before = torch.random.get_rng_state()
    with seeded_init(7):
        first = mlp((4,), (8,))[0].state_dict()
    with seeded_init(7):
        again = mlp((4,), (8,))[0].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: mlp((4,), ()), "hidden: found none"),
        (lambda: small_cnn((3, 8, 8), (8,) * 4), "widths: found 4 stages for images of 8x8; .* at most 3"),
        (lambda: small_cnn((3, 8, 8), (12,)), "widths: found 12; expected a multiple of 8"),
    ],
)
def test_what_cannot_be_built_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
