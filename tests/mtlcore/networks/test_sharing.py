"""Networks that share in part: what each task depends on, and what is left without some of them."""

import numpy as np
import pytest
import torch

from mtlcore import (
    AttentionTrunk,
    CrossStitch,
    DSelectK,
    JointLoss,
    LearnedBranching,
    Multiclass,
    MultiGateMixtureOfExperts,
    Multilabel,
    MultiTaskNetwork,
    ProgressiveLayeredExtraction,
    mlp,
    resnet_small,
    seeded_init,
    small_cnn,
    without_auxiliary,
)
from mtlcore.networks.cross_stitch import stages_of

TASKS = [
    Multiclass("a", ("x", "y", "z")),
    Multilabel("b", ("u", "v"), auxiliary=True),
    Multiclass("c", ("p", "q"), auxiliary=True),
]
NAMES = [task.name for task in TASKS]


def layered(levels):
    return lambda backbone, features, names: ProgressiveLayeredExtraction(
        backbone, features, names, levels=levels, expert_widths=(8,), shared_experts=1
    )


TRUNKS = {
    "cross_stitch": CrossStitch,
    "mtan": AttentionTrunk,
    "ltb": LearnedBranching,
    "dselect_k": lambda *given: DSelectK(*given, experts=4, expert_widths=(8,)),
    "mmoe": lambda *given: MultiGateMixtureOfExperts(*given, experts=3, expert_widths=(8,)),
    "cgc": layered(1),
    "ple": layered(2),
    "ple of three levels": layered(3),
}


def network_of(kind, backbone=None, tasks=TASKS):
    with seeded_init(0):
        trunk = TRUNKS[kind](*(backbone or mlp((6,), (16, 12))), [task.name for task in tasks])
        network = MultiTaskNetwork(trunk, trunk.features, tasks, head_hidden=(5,))
        for parameter in network.parameters():  # no two alike, whatever a unit begins with
            parameter.data.add_(torch.rand_like(parameter) / 10)
    return network


def depends_on(network, value):
    """The names of the parameters that a value depends on, as autograd has it."""
    named = dict(network.named_parameters())
    found = torch.autograd.grad(value.sum(), list(named.values()), allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(named, found, strict=True) if gradient is not None}


@pytest.mark.parametrize("kind", TRUNKS)
def test_used_by_and_shared_parameters_are_what_autograd_says(kind):
    network = network_of(kind)
    logits = network(torch.randn(4, 6))
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    using = {task: depends_on(network, logits[task]) for task in NAMES}
    for task in NAMES:
        said = {name_of[id(parameter)] for parameter in network.backbone.used_by(task)}
        assert said == {name for name in using[task] if not name.startswith("heads.")}
    shared = {name_of[id(parameter)] for parameter in network.shared_parameters()}
    assert shared == {name for name in name_of.values() if sum(name in of for of in using.values()) > 1}
    assert shared


@pytest.mark.parametrize("kind", TRUNKS)
@pytest.mark.parametrize("kept", [["a"], ["c"], ["a", "c"]])
def test_without_some_tasks_the_others_logits_stay_and_nothing_idle_remains(kind, kept):
    network, x = network_of(kind).eval(), torch.randn(4, 6)
    before = network(x)
    alone = network.restrict_to_tasks(kept)
    after = alone(x)
    assert list(after) == kept
    for task in kept:
        torch.testing.assert_close(after[task], before[task])
    needed = set().union(*(depends_on(network, before[task]) for task in kept))
    assert {name for name, _ in alone.named_parameters()} == needed
    assert set(network(x)) == set(NAMES), "the network itself is as it was"


@pytest.mark.parametrize("kind", TRUNKS)
def test_auxiliary_tasks_are_left_behind(kind):
    network = network_of(kind)
    assert without_auxiliary(network, TASKS).task_names == ("a",)
    assert not any("b_" in name or "c_" in name for name, _ in without_auxiliary(network, TASKS).heads.named_children())
    with pytest.raises(ValueError, match="all auxiliary"):
        without_auxiliary(network.restrict_to_tasks(["b", "c"]), TASKS)
    with pytest.raises(ValueError, match="there is no task 'd'"):
        network.restrict_to_tasks(["d"])


@pytest.mark.parametrize("kind", TRUNKS)
def test_every_parameter_is_in_the_graph_where_a_batch_has_labels_of_one_task_alone(kind):
    network = network_of(kind)
    labels = {"a": torch.full((4,), -1), "b": torch.full((4, 2), -1), "c": torch.zeros(4, dtype=torch.long)}
    JointLoss(TASKS)(network(torch.randn(4, 6)), labels).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", TRUNKS)
@pytest.mark.parametrize("build", [small_cnn, resnet_small])
def test_pictures_go_through_and_every_head_gets_features_of_its_own(kind, build):
    network = network_of(kind, build((1, 8, 8), (8, 16)))
    entered = {}
    for task in NAMES:
        network.heads[f"{task}_head"].register_forward_pre_hook(
            lambda _, given, task=task: entered.update({task: given[0]})
        )
    logits = network(torch.randn(3, 1, 8, 8))
    assert [tuple(logits[task.name].shape) for task in TASKS] == [(3, 3), (3, 2), (3, 2)]
    assert {tuple(h.shape) for h in entered.values()} == {(3, network.backbone.features)}
    assert not torch.equal(entered["a"], entered["b"])


def test_cross_stitch_begins_as_hard_sharing_and_own_1_keeps_tasks_apart():
    x = torch.randn(4, 6)
    with seeded_init(1):
        backbone, features = mlp((6,), (16, 12))
    for own in (0.5, 0.9):
        for h in CrossStitch(backbone, features, NAMES, own=own)(x).values():
            torch.testing.assert_close(h, backbone(x))
    apart = CrossStitch(backbone, features, NAMES, own=1.0)
    apart(x)["a"].sum().backward()
    columns = [column.parameters() for column in apart.stages[0]]
    assert [any(p.grad.abs().sum() > 0 for p in column) for column in columns] == [True, False, False]


def test_cross_stitch_mixes_after_every_stage_as_its_equation_says():
    network = network_of("cross_stitch")
    trunk, x = network.backbone.double(), torch.randn(4, 6, dtype=torch.float64)
    columns = [x.numpy()] * 3
    for stage, unit in zip(trunk.stages, trunk.units, strict=True):
        own = []
        for column, h in zip(stage, columns, strict=True):
            linear = next(layer for layer in column if isinstance(layer, torch.nn.Linear))
            own.append(np.maximum(h @ linear.weight.detach().numpy().T + linear.bias.detach().numpy(), 0))
        alpha = unit.detach().numpy()
        columns = [sum(alpha[t, s] * own[s] for s in range(3)) for t in range(3)]
    assert len(trunk.units) == 2
    for name, h in trunk(x).items():
        np.testing.assert_allclose(h.detach().numpy(), columns[NAMES.index(name)], rtol=1e-12)


def test_stages_begin_with_weights_and_what_is_no_sequence_is_one_stage():
    assert len(stages_of(small_cnn((3, 32, 32))[0])) == 3
    assert len(stages_of(resnet_small((3, 32, 32), blocks=1)[0])) == 4
    assert len(stages_of(torch.nn.Linear(3, 2))) == 1
    assert len(CrossStitch(torch.nn.Linear(3, 2), 2, NAMES).units) == 1


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def weights(layer):
    return layer.weight.detach().numpy()


def expert_of(module):
    linear = next(layer for layer in module if isinstance(layer, torch.nn.Linear))
    return lambda h: np.maximum(h @ weights(linear).T + linear.bias.detach().numpy(), 0)


def weighed(gate, h, outputs):
    g = softmax(h @ weights(gate).T)
    return sum(g[:, i : i + 1] * out for i, out in enumerate(outputs))


def test_mmoe_is_its_equation():
    trunk, x = network_of("mmoe").backbone.double(), torch.randn(4, 6, dtype=torch.float64)
    h = trunk.backbone(x).detach().numpy()
    outputs = [expert_of(expert)(h) for expert in trunk.experts]
    for name, features in trunk(x).items():
        np.testing.assert_allclose(
            features.detach().numpy(), weighed(trunk.gates[f"{name}_gate"], h, outputs), rtol=1e-12
        )


def test_attention_is_its_equation_at_every_place_of_a_map():
    network = network_of("mtan", small_cnn((1, 8, 8), (8, 16)))
    trunk, x = network.backbone.double(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    first, second = trunk.stages
    p1, p2 = first(x), second(first(x))
    pointwise = "nchw,dc->ndhw"
    for task, found in trunk(x).items():
        seen = None
        for p, attention in zip((p1, p2), trunk.attention[f"{task}_attention"], strict=True):
            entering = p if seen is None else torch.cat([p, torch.nn.functional.avg_pool2d(seen, 2)], dim=1)
            hidden = torch.einsum(pointwise, entering, attention.hidden.weight)
            hidden = attention.norm(hidden + attention.hidden.bias[:, None, None]).relu()
            mask = torch.einsum(pointwise, hidden, attention.mask.weight) + attention.mask.bias[:, None, None]
            seen = mask.sigmoid() * p
        torch.testing.assert_close(found, seen.flatten(1))


def test_branching_ends_with_one_path_a_task_and_draws_by_the_number_of_passes_alone():
    network, x = network_of("ltb"), torch.randn(4, 6)
    trunk = network.backbone
    drawn = [trunk.mixing() for _ in range(3)]
    assert not torch.equal(drawn[0][0], drawn[1][0])
    again = network_of("ltb").backbone
    again.load_state_dict(trunk.state_dict())
    torch.manual_seed(5)
    for one, other in zip(trunk.mixing(), again.mixing(), strict=True):
        assert torch.equal(one, other), "as a run that goes on would"
    trunk.passes.fill_(10**6)
    with torch.no_grad():
        for unit in trunk.units:
            unit.copy_(3 * torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    network.eval()
    entering = trunk(x)
    torch.testing.assert_close(entering["a"], entering["b"], msg="both continue the same column")
    assert not torch.allclose(entering["a"], entering["c"])
    assert trunk.passes == 10**6, "a pass that trains nothing is not counted"


def test_sparse_gates_are_their_equation_and_choose_few_experts():
    trunk = network_of("dselect_k").backbone.double()
    gate, x = trunk.gates["a_gate"], torch.randn(4, 6, dtype=torch.float64)
    outputs = [expert_of(expert)(trunk.backbone(x).detach().numpy()) for expert in trunk.experts]
    z, alpha = gate.bits.detach().numpy(), gate.weights.detach().numpy()
    on = -2 * z**3 + 1.5 * z + 0.5
    q = np.zeros(4)
    for s, share in enumerate(np.exp(alpha) / np.exp(alpha).sum()):
        for i in range(4):
            q[i] += share * np.prod([on[s, j] if i >> j & 1 else 1 - on[s, j] for j in range(2)])
    np.testing.assert_allclose(q.sum(), 1)
    right = sum(weight * out for weight, out in zip(q, outputs, strict=True))
    np.testing.assert_allclose(trunk(x)["a"].detach().numpy(), right, rtol=1e-12)
    with torch.no_grad():
        gate.bits.copy_(torch.tensor([[-0.5, 0.5], [0.7, 0.9]]))
    assert (gate() > 0).nonzero().flatten().tolist() == [2, 3]


@pytest.mark.parametrize("kind", ["cgc", "ple of three levels"])
def test_layered_extraction_is_its_equations(kind):
    trunk, x = network_of(kind).backbone.double(), torch.randn(4, 6, dtype=torch.float64)
    start = trunk.backbone(x).detach().numpy()
    h, shared = dict.fromkeys(NAMES, start), start
    for level in trunk.levels:
        from_shared = [expert_of(expert)(shared) for expert in level.shared_experts]
        own = {name: [expert_of(e)(h[name]) for e in level.task_experts[f"{name}_experts"]] for name in NAMES}
        h = {name: weighed(level.gates[f"{name}_gate"], h[name], own[name] + from_shared) for name in NAMES}
        if level.shared_gate is not None:
            shared = weighed(level.shared_gate, shared, [out for name in NAMES for out in own[name]] + from_shared)
    for name, features in trunk(x).items():
        np.testing.assert_allclose(features.detach().numpy(), h[name], rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CrossStitch(*mlp((4,), (8,)), NAMES, own=0), "sharing.own: found 0"),
        (lambda: MultiGateMixtureOfExperts(*mlp((4,), (8,)), NAMES, experts=0), "sharing.experts: found 0"),
        (lambda: MultiGateMixtureOfExperts(*mlp((4,), (8,)), NAMES, expert_widths=()), "sharing.expert_widths"),
        (lambda: DSelectK(*mlp((4,), (8,)), NAMES, experts=6), "sharing.experts: found 6; expected a power of two"),
        (lambda: DSelectK(*mlp((4,), (8,)), NAMES, chosen=5), "sharing.chosen: found 5"),
        (lambda: LearnedBranching(*mlp((4,), (8,)), NAMES, cooling_steps=0), "sharing.cooling_steps: found 0"),
        (lambda: ProgressiveLayeredExtraction(*mlp((4,), (8,)), NAMES, levels=0), "sharing.levels: found 0"),
        (lambda: MultiTaskNetwork(CrossStitch(*mlp((4,), (8,)), ["a"]), 8, TASKS), "found a trunk with 8 features"),
    ],
)
def test_what_cannot_be_shared_so_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
