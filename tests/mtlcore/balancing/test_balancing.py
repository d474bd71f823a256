"""Balancing: every method's defining property, and the same update on one worker and on two."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mtlcore import JointLoss, build_balancer
from mtlcore.balancing import BALANCING_METHODS, AggregatedGradients
from mtlcore.balancing.dual_cone import project_onto_dual_cone
from mtlcore.balancing.jacobian import global_jacobian
from mtlcore.balancing.seeds import seed_of_step
from mtlcore.balancing.torchjd_aggregators import AGGREGATORS, build_aggregator
from mtlcore.losses.joint_loss import JointLossValue
from mtlcore.losses.objective import Objective
from tests.mtlcore.balancing.balancing_problem import (
    JOINT,
    A,
    B,
    balancer_of,
    batch,
    gradients,
    is_installed,
    network_and_balancer,
    train_each,
    trained,
)


def methods(*names):
    """Return names of methods to test; of one that needs what is not installed a test is skipped, and says so."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"what {name} needs is not here"))
        for name in names
    ]


@pytest.fixture(scope="module")
def on_two(two_workers, tmp_path_factory):
    """Every method, trained by two processes under DistributedDataParallel."""
    folder = tmp_path_factory.mktemp("two-workers")
    two_workers(train_each, folder)
    return lambda name, bf16, rank: safetensors.torch.load_file(folder / f"{name}-{bf16}-{rank}")


def aggregated(name, J, **options):
    """Aggregate a given Jacobian: m objectives that are linear in one shared parameter."""
    J = torch.as_tensor(J)
    shared = torch.zeros(J.shape[1], dtype=J.dtype, requires_grad=True)
    names = [f"t{i}" for i in range(len(J))]
    balancer = build_balancer(name, names, [shared], [], **options)
    step(balancer, dict(zip(names, J @ shared, strict=True)))
    return shared.grad


def step(balancer, shares, absent=()):
    objectives = {name: Objective(share, torch.tensor(name not in absent)) for name, share in shares.items()}
    balancer.backward(JointLossValue(sum(shares.values()), {}, objectives))


@pytest.mark.parametrize("name", methods(*BALANCING_METHODS))
def test_one_and_two_workers_make_the_same_updates(on_two, name):
    one, first, second = trained(name), on_two(name, False, 0), on_two(name, False, 1)
    assert one.keys() == first.keys() == second.keys()
    for key, expected in one.items():
        assert torch.equal(first[key], second[key]), f"{key}: workers drift apart"
        torch.testing.assert_close(first[key], expected, rtol=2e-3, atol=2e-4, msg=lambda m, key=key: f"{key} {m}")


@pytest.mark.parametrize("name", methods(*BALANCING_METHODS))
def test_under_bf16_autocast_updates_are_finite_close_to_full_precision_and_the_same_on_all_workers(on_two, name):
    full, half = trained(name, steps=1), trained(name, bf16=True, steps=1)
    first, second = on_two(name, True, 0), on_two(name, True, 1)
    for key in first:
        assert torch.equal(first[key], second[key]), f"{key}: workers drift apart"
        assert first[key].isfinite().all(), key
    keys = [key for key in full if key.startswith("step 0")]
    flat = [torch.cat([found[key].flatten() for key in keys]) for found in (full, half, first)]
    assert all(key_of.dtype == torch.float32 for key_of in flat)
    assert not torch.equal(flat[0], flat[1]), "autocast was on"
    for other in flat[1:]:
        assert (other - flat[0]).norm() < 0.1 * flat[0].norm()


@pytest.mark.parametrize("name", methods(*BALANCING_METHODS))
def test_a_saved_state_goes_on_to_the_same_update(name):
    network, balancer = network_and_balancer(name)
    for t in range(3):
        gradients(network, balancer, t)
    state = balancer.state_dict()
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    other = balancer_of(network, name)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)) if state else state)
    for t in (3, 4):
        expected = gradients(network, balancer, t)
        for key, gradient in gradients(network, other, t).items():
            assert torch.equal(gradient, expected[key]), key
    with pytest.raises(ValueError, match="state: found"):
        other.load_state_dict({"unheard_of": torch.zeros(1)})


@pytest.mark.parametrize(
    "name",
    methods("gradvac", "excess_mtl", "pcd", "nash_mtl", "dwa", "uncertainty", "gradnorm", "imtl_l", "famo", "db_mtl"),
)
def test_what_is_learned_on_the_way_changes_the_update(name):
    network, balancer = network_and_balancer(name)
    fresh = balancer_of(network, name)
    for t in range(4):
        gradients(network, balancer, t)
    late, early = gradients(network, balancer, 4), gradients(network, fresh, 4)
    assert any(not torch.allclose(late[key], early[key], rtol=1e-5) for key in late)


@pytest.mark.parametrize("name", ["pcgrad", "graddrop", "random_gradients", "random"])
def test_what_is_random_depends_on_seed_and_step_alone(name):
    network, balancer = network_and_balancer(name)
    torch.manual_seed(0)
    first = gradients(network, balancer, 0)
    before = torch.get_rng_state()
    again = gradients(network, balancer, 0)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random state is touched"
    if name != "pcgrad":
        assert any(not torch.equal(first[key], again[key]) for key in first), "another step draws anew"
    torch.manual_seed(1)
    other = balancer_of(network, name)
    repeated = gradients(network, other, 0)
    assert all(torch.equal(first[key], repeated[key]) for key in first)
    assert len({seed_of_step(seed, t) for seed in (-1, 0, 1) for t in range(50)}) == 150


def test_fixed_is_the_joint_loss_bit_by_bit_and_sum_is_its_gradient():
    network, balancer = network_and_balancer("fixed")
    fixed = gradients(network, balancer, 0)
    network.zero_grad()
    x, labels = batch(0)
    JOINT(network(x), labels).loss.backward()
    assert all(torch.equal(p.grad, fixed[key]) for key, p in network.named_parameters())
    summing = balancer_of(network, "sum")
    for key, gradient in gradients(network, summing, 0).items():
        torch.testing.assert_close(gradient, fixed[key])


def test_gradients_add_to_those_that_are_there():
    network, balancer = network_and_balancer("upgrad")
    once = gradients(network, balancer, 0)
    x, labels = batch(0)
    balancer.backward(JOINT(network(x), labels))
    for key, p in network.named_parameters():
        torch.testing.assert_close(p.grad, 2 * once[key])


def test_objectives_are_the_tasks_and_one_for_all_related_pairs():
    network, _ = network_and_balancer("fixed")
    x, labels = batch(1)
    value = JOINT(network(x), labels)
    assert tuple(value.objectives) == JOINT.objective_names == ("A", "B", "C", "matching")
    assert JointLoss([A, B]).objective_names == ("A", "B")
    shares = {name: objective.share.item() for name, objective in value.objectives.items()}
    assert shares["B"] == pytest.approx(2 * value.parts["B"].item())
    of_pairs = 0.3 * value.parts["dm:A->B"] + 0.2 * (value.parts["sca:B->A"] + value.parts["sca:A->B"])
    assert shares["matching"] == pytest.approx(of_pairs.item())
    assert sum(shares.values()) == pytest.approx(value.loss.item())
    assert [objective.present.item() for objective in value.objectives.values()] == [True, True, False, True]


def test_the_jacobian_is_every_objectives_own_gradient():
    network, _ = network_and_balancer("fixed", torch.float64)
    x, labels = batch(0)
    value = JOINT(network(x.double()), labels)
    shared, heads = list(network.backbone.parameters()), list(network.heads.parameters())
    J, of_heads = global_jacobian([o.share for o in value.objectives.values()], shared, heads)
    assert J.dtype is torch.float64
    for i, name in enumerate(JOINT.objective_names):
        network.zero_grad()
        JOINT(network(x.double()), labels).objectives[name].share.backward()
        torch.testing.assert_close(J[i], torch.cat([p.grad.flatten() for p in shared]))
    network.zero_grad()
    JOINT(network(x.double()), labels).loss.backward()
    torch.testing.assert_close(of_heads, torch.cat([p.grad.flatten() for p in heads]))


def conflicting(m=4, n=6, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    return rng.normal(size=(m, n)) * rng.uniform(0.1, 10, size=(m, 1)) - 0.5 * common


@pytest.mark.parametrize("scale", [1.0, 1e-5])
@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_upgrad_and_dualproj_harm_no_objective_however_small_gradients_are(name, scale):
    for seed in range(20):
        J = scale * conflicting(seed=seed)
        assert (J @ J.sum(0)).min() < 0 or seed, "the plain sum harms one"
        product = J @ aggregated(name, J).numpy()
        assert product.min() >= -1e-4 * np.linalg.norm(J) ** 2


def test_the_dual_cone_projection_meets_the_conditions_of_the_optimum():
    for seed in range(30):
        J = conflicting(m=5, n=7, seed=seed)
        G = J @ J.T / np.trace(J @ J.T)
        u = np.random.default_rng(seed).uniform(0, 1, 5)
        v = project_onto_dual_cone(torch.from_numpy(u), torch.from_numpy(G)).numpy()
        slope = (G + 1e-6 * np.eye(5)) @ v
        assert (v - u).min() >= -1e-9
        assert slope.min() >= -1e-9
        assert abs(slope @ (v - u)) < 1e-9


def test_mgda_finds_the_shortest_vector_of_the_hull():
    J = conflicting()
    found = aggregated("mgda", J, max_iters=5000, epsilon=1e-9).numpy() / len(J)
    weights = np.random.default_rng(1).dirichlet(np.full(4, 0.5), 20000)
    assert np.linalg.norm(found) <= np.linalg.norm(weights @ J, axis=1).min() + 1e-3
    assert (J @ found >= found @ found * (1 - 1e-2) - 1e-3).all()


def test_imtl_g_projects_equally_onto_every_gradients_direction():
    J = conflicting()
    found = aggregated("imtl_g", J).numpy()
    onto = J @ found / np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(onto, onto[0], rtol=1e-6)


def test_pcgrad_of_two_objectives_projects_each_from_the_other():
    g, h = np.array([1.0, 0.0, 2.0]), np.array([-2.0, 1.0, 0.5])
    expected = (g - (g @ h) / (h @ h) * h) + (h - (g @ h) / (g @ g) * g)
    np.testing.assert_allclose(aggregated("pcgrad", np.stack([g, h])).numpy(), expected)


@pytest.mark.parametrize("name", methods("nash_mtl", "fairgrad"))
def test_nash_mtl_solves_its_bargain_and_fairgrad_at_alpha_1_the_same(name):
    J = np.array([[1.0, 0.2, 0.0], [-0.3, 2.0, 0.1], [0.1, -0.2, 0.7]])
    options = {"nash_mtl": {"max_norm": 0.0, "optim_niter": 200}, "fairgrad": {"alpha": 1.0}}
    alpha = np.linalg.solve(J.T, aggregated(name, J, **options[name]).numpy())
    product = (J @ J.T @ alpha) * alpha
    np.testing.assert_allclose(product, product[0], rtol=2e-2, err_msg=name)


def test_cagrad_betters_the_worst_objective_within_its_ball_even_where_gradients_are_small():
    for scale in (1.0, 1e-4):
        J = scale * conflicting()
        mean, found = J.mean(0), aggregated("cagrad", J, c=0.5).numpy() / len(J)
        assert np.linalg.norm(found - mean) == pytest.approx(0.5 * np.linalg.norm(mean), rel=1e-3)
        assert (J @ found).min() > (J @ mean).min()


def test_aligned_mtl_weighs_the_principal_axes_evenly():
    J = conflicting(m=3, n=5)
    _, sigma, V = np.linalg.svd(J, full_matrices=False)
    U = J @ V.T / sigma
    np.testing.assert_allclose(aggregated("aligned_mtl", J).numpy(), sigma[-1] * np.ones(3) @ U @ V, rtol=1e-6)


@pytest.mark.parametrize(
    "name", [n for n in AGGREGATORS if n not in ("nash_mtl", "fairgrad", "constant", "pcd", "mean")]
)
def test_identical_gradients_give_their_sum(name):
    g = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = aggregated(name, g.repeat(3, 1))
    expected = 3 * g if name != "cagrad" else 3 * 1.5 * g  # CAGrad adds a fraction c of its length
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "fairgrad"])
def test_an_objective_that_no_input_counts_for_does_not_stop_the_others(name):
    network, balancer = network_and_balancer(name)
    assert sum(g.abs().sum() for key, g in gradients(network, balancer, 1).items() if "backbone" in key) > 0.1


@pytest.mark.parametrize("name", methods(*AGGREGATORS))
def test_gradients_that_are_not_finite_reach_the_callers_check(name):
    J = torch.ones(3, 4)
    J[1, 2] = math.inf
    options = {"weights": {"t0": 1, "t1": 1, "t2": 1}} if name == "constant" else {}
    assert not aggregated(name, J, **options).isfinite().all()


def test_uncertainty_follows_the_gradient_of_its_objective():
    L, theta = torch.tensor([2.0, 0.3, 1.0], dtype=torch.float64), torch.tensor(1.0, requires_grad=True)
    balancer = build_balancer("uncertainty", ["a", "b", "c"], [theta], [], lr=0.1)
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for t in range(20):
        theta.grad = None
        absent = ("c",) if t % 2 else ()
        step(balancer, dict(zip("abc", L.float() * theta, strict=True)), absent)
        there = torch.tensor([1.0, 1.0, 0.0 if absent else 1.0])
        slope = torch.autograd.grad((there * (torch.exp(-s) * L + s / 2)).sum(), s)[0]
        assert theta.grad.item() == pytest.approx((torch.exp(-s) * L).sum().item(), rel=1e-5)
        s = (s - 0.1 * slope).detach().requires_grad_()
    np.testing.assert_allclose(balancer.state_dict()["log_variance"].numpy(), s.detach().numpy(), rtol=1e-5)


def test_dwa_weighs_by_the_ratio_of_the_last_two_periods():
    theta = torch.tensor(1.0, requires_grad=True)
    balancer = build_balancer("dwa", ["a", "b"], [theta], [], period=2, temperature=2.0)
    losses = [(4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (2.0, 9.0), (1.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    found = []
    for t, pair in enumerate(losses):
        theta.grad = None
        step(balancer, {"a": pair[0] * theta, "b": pair[1] * theta}, absent=("b",) if t in (3, 5) else ())
        found.append(theta.grad.item())
    # Means of a: 3, 1.5, 1; of b: 1, 1 (step 3 left out), 1 (step 5 left out).
    r = np.array([1.5 / 3, 1.0])
    w = 2 * np.exp(r / 2) / np.exp(r / 2).sum()
    later = np.array([1 / 1.5, 1.0])
    v = 2 * np.exp(later / 2) / np.exp(later / 2).sum()
    expected = [5.0, 3.0, 2.0, 11.0, w @ (1, 1), w @ (1, 0), v @ (1, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_random_weights_are_positive_and_sum_to_the_number_of_objectives():
    balancer = build_balancer("random", ["a", "b", "c"], [], [], seed=3)
    drawn = []
    for _ in range(400):
        theta = torch.zeros(3, requires_grad=True)
        step(balancer, dict(zip("abc", theta, strict=True)))
        drawn.append(theta.grad.numpy())
    assert np.min(drawn) > 0
    np.testing.assert_allclose(np.sum(drawn, axis=1), 3, rtol=1e-6)
    np.testing.assert_allclose(np.mean(drawn, axis=0), 1, atol=0.1)


def test_gradnorm_takes_its_step_by_hand():
    W = torch.tensor([[1.0, 1.0]], requires_grad=True)
    balancer = build_balancer("gradnorm", ["a", "b"], [W], [], lr=0.1, alpha=1.5)
    slopes = np.array([[3.0, 4.0], [0.6, 0.8]])  # norms 5 and 1

    def run(constants):
        W.grad = None
        a, b = (torch.tensor(slopes, dtype=torch.float32) @ W[0]) + torch.tensor(constants)
        step(balancer, {"a": a, "b": b})
        return W.grad[0].numpy()

    np.testing.assert_allclose(run([0.0, 0.0]), slopes.sum(0), rtol=1e-6)
    # L(0) = (7, 1.4); G = (5, 1), mean 3, r = 1: the gradient of w is (+5, -1).
    w = np.array([1 - 0.5, 1 + 0.1])
    w *= 2 / w.sum()
    np.testing.assert_allclose(balancer.state_dict()["weights"].numpy(), w, rtol=1e-6)
    np.testing.assert_allclose(run([7.0, 0.0]), w @ slopes, rtol=1e-6)
    # L = (14, 1.4): progress (2, 1), mean 1.5.
    r, G = np.array([2, 1]) / 1.5, w * [5, 1]
    w = w - 0.1 * np.sign(G - G.mean() * r**1.5) * [5, 1]
    w *= 2 / w.sum()
    np.testing.assert_allclose(balancer.state_dict()["weights"].numpy(), w, rtol=1e-5)


def weighed(name, losses, absent=(), **options):
    """The weights of one step of a method of losses, whose objectives are linear in a parameter each."""
    theta, names = torch.ones(len(losses), requires_grad=True), "abcdef"[: len(losses)]
    balancer = build_balancer(name, names, [theta], [], **options)
    step(balancer, dict(zip(names, theta * torch.tensor(losses), strict=True)), absent)
    return theta.grad.numpy() / losses


@pytest.mark.parametrize("name", ["gls", "stch", "famo", "imtl_l", "random"])
def test_methods_of_losses_weigh_alike_losses_by_one_on_average(name):
    assert weighed(name, [0.7, 0.7, 0.7]).sum() == pytest.approx(3.0, rel=1e-5)


def test_gls_and_stch_descend_what_torchjd_defines():
    from torchjd.scalarization import STCH, GeometricMean

    losses = torch.tensor([2.0, 0.5, 1.2], requires_grad=True)
    for name, scalarizer, scale, options in (
        ("gls", GeometricMean(), 3, {}),
        ("stch", STCH(0.2), 9, {"mu": 0.2}),
    ):
        expected = scale * torch.autograd.grad(scalarizer(losses), losses)[0]
        np.testing.assert_allclose(weighed(name, losses.tolist(), **options), expected.numpy(), rtol=1e-5)
    some = weighed("gls", [2.0, 0.5, 0.1], absent=("c",))
    np.testing.assert_allclose(some, [0.5, 2.0, 0.0], rtol=1e-5)


def test_imtl_l_learns_the_scale_that_brings_each_loss_to_one():
    theta = torch.ones(2, requires_grad=True)
    balancer = build_balancer("imtl_l", "ab", [theta], [], lr=0.1)
    for t in range(300):
        theta.grad = None
        step(balancer, {"a": 4.0 * theta[0], "b": 0.25 * theta[1]}, absent=("b",) if t % 2 else ())
    np.testing.assert_allclose(balancer.state_dict()["log_scale"].exp().numpy(), [0.25, 4.0], rtol=1e-3)


def test_famo_is_torchjds_on_the_losses_of_successive_batches():
    from torchjd.scalarization import FAMO

    reference, theta = FAMO(3, lr=0.1, weight_decay=0.01), torch.ones(3, requires_grad=True)
    balancer = build_balancer("famo", "abc", [theta], [], lr=0.1, weight_decay=0.01)
    for t in range(6):
        losses = torch.rand(3, generator=torch.Generator().manual_seed(t)) + 0.1
        if t:
            reference.update(losses)
        theta.grad = None
        step(balancer, dict(zip("abc", theta * losses, strict=True)))
        values = losses.clone().requires_grad_()
        expected = 3 * torch.autograd.grad(reference(values), values)[0]
        np.testing.assert_allclose((theta.grad / losses).numpy(), expected.numpy(), rtol=1e-4)


def test_db_mtl_gives_every_objective_a_gradient_of_the_longest_ones_length():
    J = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.2, 0.0]])
    shared = torch.ones(3, requires_grad=True)  # losses 7 and 0.2: gradients of logarithms J / loss
    balancer = build_balancer("db_mtl", "ab", [shared], [], beta=0.5)
    step(balancer, dict(zip("ab", J @ shared, strict=True)))
    logs = J.numpy() / np.array([[7.0], [0.2]])
    lengths = np.linalg.norm(logs, axis=1)
    np.testing.assert_allclose(shared.grad.numpy(), lengths.max() * (logs / lengths[:, None]).sum(0), rtol=1e-5)
    shared.grad = None
    step(balancer, {"a": J[0] @ shared, "b": 5 * J[1] @ shared + 1}, absent=("a",))
    later = 0.5 * logs[1] + 0.5 * 5 * J[1].numpy() / 2.0
    np.testing.assert_allclose(shared.grad.numpy(), later, rtol=1e-5)


def test_every_aggregator_of_torchjd_has_a_name_a_paper_and_a_line_in_the_docs():
    import torchjd.aggregation as offered

    bases = {"Aggregator", "WeightedAggregator", "GramianWeightedAggregator"}
    classes = {
        name for name in offered.__all__ if issubclass(getattr(offered, name), offered.Aggregator) and name not in bases
    }
    assert {entry.class_name for entry in AGGREGATORS.values()} == classes
    for entry in AGGREGATORS.values():
        takes = set(inspect.signature(getattr(offered, entry.class_name)).parameters)
        assert takes - {"projector", "f", "n_tasks"} == set(entry.defaults), entry.class_name
    page = (Path(__file__).parents[3] / "docs" / "balancing.md").read_text()
    for name in BALANCING_METHODS:
        assert f"| `{name}` |" in page
        assert name not in AGGREGATORS or f"    {name} " in AggregatedGradients.__doc__


@pytest.mark.parametrize(
    ("name", "objectives", "options", "words"),
    [
        ("upgrade", "abc", {}, "method: found 'upgrade'; did you mean 'upgrad'"),
        ("zzz", "abc", {}, "method: found 'zzz'; valid: fixed, uncertainty, dwa, .*upgrad"),
        ("dwa", "abc", {"temprature": 1}, "temprature: .* did you mean 'temperature'"),
        ("fixed", "abc", {"lr": 1}, "lr: .*'fixed' has no such option; it has none"),
        ("krum", "ab", {}, "method: 'krum' needs 3 objectives; found a, b"),
        ("trimmed_mean", "abcd", {"trim_number": 2}, "'trimmed_mean' needs 5 objectives"),
        ("constant", "abc", {}, "weights: missing"),
        (
            "constant",
            "abc",
            {"weights": {"a": 1, "q": 2}},
            "weights: found a, q; a number for each of a, b, c",
        ),
        ("cagrad", "abc", {"c": -1}, "c must be non-negative"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_found(name, objectives, options, words):
    with pytest.raises(ValueError, match=words):
        build_balancer(name, objectives, [torch.zeros(2, 2, requires_grad=True)], [], **options)


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr("mtlcore.balancing.torchjd_aggregators.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"'nash_mtl' needs cvxpy, ecos, .* pip install 'kindred-mtl\[nash-mtl\]'"):
        build_aggregator("nash_mtl", "abc", {})
    assert build_balancer("upgrad", "abc", [torch.zeros(2, requires_grad=True)], []), "needs no solver"


def test_one_objective_alone_is_plain_training():
    assert type(build_balancer("krum", ["a"], [], [])).__name__ == "FixedWeights"


def test_objectives_of_another_loss_are_refused():
    balancer = build_balancer("upgrad", "ab", [torch.zeros(2, requires_grad=True)], [])
    with pytest.raises(ValueError, match="objectives: found x, b; this balancer was built for a, b"):
        step(balancer, {"x": torch.zeros(()), "b": torch.zeros(())})
