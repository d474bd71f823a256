"""DM, SCA and ILL with a multilabel source, against the float64 reference and by the properties they promise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    co_annotation_from_labels,
    co_annotation_to_classes,
    co_annotation_to_labels,
    co_annotation_to_source_labels,
    distribution_matching_loss,
    implied_likelihood_loss,
    log_implied,
    log_implied_by_labels,
    suggested_labels,
)
from mtlcore.losses.implied_multilabel import LogNoCause
from mtlcore.relatedness.device_cache import cause_view
from tests.mtlcore.losses import reference_multilabel as reference
from tests.mtlcore.losses.large_logits import assert_finite_at
from tests.mtlcore.losses.reference import log_sigmoid


class Problem:
    """A random multilabel A and a B of either kind; R has exact zeros and ones and unknown cells."""

    def __init__(self, seed, N, K, L, multiclass, scale, with_base, unknown=0.12, dtype=torch.float64):
        draw = np.random.Generator(np.random.PCG64(seed))
        self.A = Multilabel("A", tuple(f"k{i}" for i in range(K)))
        outputs = tuple(f"l{i}" for i in range(L))
        self.B = Multiclass("B", outputs) if multiclass else Multilabel("B", outputs)
        self.multiclass, self.dtype = multiclass, dtype
        self.z_a, self.z_b = draw.normal(size=(N, K)) * scale, draw.normal(size=(N, L)) * scale
        self.y_a = draw.integers(-1, 2, size=(N, K))
        self.y_b = draw.integers(-1, L, size=N) if multiclass else draw.integers(-1, 2, size=(N, L))
        if multiclass:
            table = draw.dirichlet(np.full(L, 0.5), size=K)
            one_hot = draw.random(K) < 0.3
            table[one_hot] = np.eye(L)[draw.integers(0, L, one_hot.sum())]
            table[draw.random(K) < unknown] = np.nan
            self.base = draw.dirichlet(np.full(L, 2.0)) if with_base else None
        else:
            table = draw.choice([0.0, 1.0, 0.3, 0.9], size=(K, L), p=[0.4, 0.25, 0.2, 0.15])
            table[draw.random((K, L)) < unknown] = np.nan
            self.base = draw.choice([0.0, 0.05, 0.4], size=L) if with_base else None
        self.R = table
        base = None if self.base is None else torch.from_numpy(self.base)
        self.relatedness = Relatedness(self.A, self.B, torch.from_numpy(table), base)
        self.trust = draw.choice([0.0, 0.3, 1.0], size=K)

    def tensors(self):
        z = [torch.tensor(a, dtype=self.dtype, requires_grad=True) for a in (self.z_a, self.z_b)]
        return (*z, torch.from_numpy(self.y_a), torch.from_numpy(self.y_b))


problems = st.builds(
    Problem,
    seed=st.integers(0, 2**31),
    N=st.integers(1, 6),
    K=st.integers(1, 6),
    L=st.integers(1, 5),
    multiclass=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 10.0, 300.0]),
    with_base=st.booleans(),
)


def close(term, expected):
    total, count = expected
    assert term.count.item() == pytest.approx(count, rel=1e-9, abs=1e-12)
    assert term.total.item() == pytest.approx(total, rel=1e-8, abs=1e-8)


@settings(deadline=None, max_examples=80)
@given(problems, st.sampled_from([0.5, 1.0, 3.0]))
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_labels_imply_is_the_reference(p, tau):
    z_a = p.tensors()[0]
    found = log_implied_by_labels(z_a, p.relatedness, tau, torch.from_numpy(p.trust))
    log_q, log_not_q, weight, _ = reference.implied(p.z_a, p.R, p.multiclass, tau, p.trust, p.base)
    np.testing.assert_allclose(found.log_q.detach(), log_q, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.log_not_q.detach(), log_not_q, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.known, weight, rtol=1e-7, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(problems, st.sampled_from([0.5, 1.0]), st.sampled_from(["own_is_target", "implied_is_target", "symmetric"]))
def test_distribution_matching_is_the_reference(p, tau, direction):
    z_a, z_b, _, _ = p.tensors()
    term = distribution_matching_loss(z_a, z_b, p.relatedness, tau=tau, direction=direction)
    close(term, reference.distribution_matching(p.z_a, p.z_b, p.R, p.multiclass, tau, direction, p.base))


@settings(deadline=None, max_examples=60)
@given(problems)
def test_implied_likelihood_is_the_reference(p):
    z_a, _, _, y_b = p.tensors()
    close(implied_likelihood_loss(z_a, y_b, p.relatedness), reference.ill(p.z_a, p.y_b, p.R, p.multiclass, p.base))


@settings(deadline=None, max_examples=60)
@given(problems, st.booleans(), st.booleans())
def test_co_annotation_to_source_labels_is_the_reference(p, with_trust, with_prior):
    z_a, _, _, y_b = p.tensors()
    trust = p.trust if with_trust else np.ones(len(p.R))
    prior = np.linspace(0.1, 0.9, len(p.R)) if with_prior else None
    term = co_annotation_to_source_labels(
        z_a, y_b, p.relatedness,
        prior=None if prior is None else torch.from_numpy(prior),
        trust=torch.from_numpy(trust) if with_trust else None,
    )  # fmt: skip
    expected = reference.to_source_labels(p.z_a, p.y_b, p.R, p.multiclass, trust, prior, p.base)
    close(term, expected)
    if not with_trust:
        same = co_annotation_to_classes(
            z_a, y_b, p.relatedness, prior=None if prior is None else torch.from_numpy(prior)
        )
        close(same, expected)


@settings(deadline=None, max_examples=60)
@given(problems, st.booleans(), st.sampled_from(["positive", "full"]))
def test_co_annotation_from_labels_is_the_reference(p, with_trust, form):
    _, z_b, y_a, _ = p.tensors()
    trust = p.trust if with_trust else np.ones(len(p.R))
    term = co_annotation_from_labels(
        z_b, y_a, p.relatedness, form=form, trust=torch.from_numpy(trust) if with_trust else None
    )
    close(term, reference.from_labels(p.z_b, p.y_a, p.R, p.multiclass, form, trust, p.base))
    if not with_trust:
        same = co_annotation_to_labels(z_b, y_a, p.relatedness, form=form)
        assert (same.total, same.count) == (term.total, term.count)


def joint_of(p):
    pair = RelatedPair(
        p.relatedness,
        DistributionMatching(0.7, 1.3, "symmetric"),
        SoftCoAnnotation(0.4, 0.1, "full"),
        ImpliedLikelihood(0.2),
    )
    return JointLoss([p.A, p.B], [pair])


@settings(deadline=None, max_examples=60)
@given(problems, st.sampled_from([1.0, 100.0, 1e4]), st.sampled_from([torch.float32, torch.bfloat16]))
def test_values_and_gradients_are_finite_for_logits_to_1e4(p, size, dtype):
    p.dtype = dtype
    assert_finite_at(size, joint_of(p), *p.tensors(), autocast=dtype is torch.bfloat16)


@pytest.mark.parametrize("direction", ["own_is_target", "implied_is_target", "symmetric"])
@pytest.mark.parametrize("multiclass", [False, True])
def test_gradients_are_those_of_the_value(multiclass, direction):
    """With every cell known: an unknown cell's weight is held constant by design."""
    p = Problem(3, N=4, K=5, L=3, multiclass=multiclass, scale=2.0, with_base=True, unknown=0)
    z_a, z_b, y_a, y_b = p.tensors()
    joint = JointLoss(
        [p.A, p.B],
        [
            RelatedPair(
                p.relatedness, DistributionMatching(0.7, 1.3, direction), SoftCoAnnotation(0.4), ImpliedLikelihood(0.2)
            )
        ],
    )
    assert torch.autograd.gradcheck(lambda a, b: joint({"A": a, "B": b}, {"A": y_a, "B": y_b}).loss, (z_a, z_b))


@pytest.mark.parametrize("worth_a_product", [0, 4, 200], ids=["cell by cell", "both", "by value"])
def test_the_gradient_is_right_also_batched_whichever_way_the_cells_are_gone_through(monkeypatch, worth_a_product):
    monkeypatch.setattr("mtlcore.losses.implied_multilabel._CHUNK", 12)  # three cells at a time
    monkeypatch.setattr("mtlcore.relatedness.device_cache._WORTH_A_PRODUCT", worth_a_product)
    p = Problem(9, N=4, K=7, L=5, multiclass=False, scale=2.0, with_base=False, unknown=0)
    z_a = p.tensors()[0]
    causes = cause_view(torch.from_numpy(p.R))
    assert (len(causes.common) - 1, len(causes.rare.values) > 0) == {0: (0, True), 4: (1, True), 200: (2, False)}[
        worth_a_product
    ]
    assert torch.autograd.gradcheck(lambda z: LogNoCause.apply(z, causes), (z_a,))
    out = LogNoCause.apply(z_a, causes)
    R = p.R.T[None]  # (1, L, K)
    expected = np.logaddexp(log_sigmoid(-p.z_a)[:, None], log_sigmoid(p.z_a)[:, None] + np.log1p(-R.clip(max=0.9)))
    expected = np.where(R == 1, log_sigmoid(-p.z_a)[:, None], expected)
    np.testing.assert_allclose(out.detach(), expected.sum(axis=2), rtol=1e-10)
    directions = torch.randn(3, *out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (batched,) = torch.autograd.grad(out, z_a, directions, is_grads_batched=True, retain_graph=True)
    for direction, found in zip(directions, batched, strict=True):
        torch.testing.assert_close(torch.autograd.grad(out, z_a, direction, retain_graph=True)[0], found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 4e-6)], ids=str)
def test_cells_of_many_values_are_interpolated_as_exactly_as_the_dtype(dtype, tolerance):
    rng = np.random.default_rng(0)
    R = rng.uniform(0, 1, (60, 40)) ** rng.choice([1, 4], (60, 40))  # with values down to 1e-10
    R[0, :3] = 1e-7, 1.0, 0.0
    causes = cause_view(torch.from_numpy(R).to(dtype))
    assert len(causes.spread) >= 2, "most cells lie in intervals"
    assert 0 < len(causes.rare.values) < 0.2 * R.size
    for scale in (1.0, 10.0, 90.0):
        z = torch.from_numpy(scale * rng.normal(size=(3, 60))).to(dtype).requires_grad_()
        out = LogNoCause.apply(z, causes)
        given, table = z.detach().double().numpy(), causes.R.double().numpy()
        p = np.exp(log_sigmoid(given))[:, :, None]
        with np.errstate(divide="ignore"):
            far = np.logaddexp(log_sigmoid(-given)[:, :, None], log_sigmoid(given)[:, :, None] + np.log1p(-table))
        expected = np.where(p * table < 0.5, np.log1p(-np.minimum(p * table, 0.5)), far)
        np.testing.assert_allclose(out.detach(), expected.sum(axis=1), rtol=tolerance)
        (found,) = torch.autograd.grad(out.sum(), z)
        slopes = -p * table * np.exp(log_sigmoid(-given)[:, :, None] - expected)
        np.testing.assert_allclose(found, slopes.sum(axis=2), rtol=10 * tolerance, atol=1e-30)


def test_a_sure_cause_that_the_label_contradicts_is_pulled_with_full_force():
    A, B = Multilabel("A", ("k",)), Multilabel("B", ("l",))
    R = Relatedness(A, B, torch.ones(1, 1, dtype=torch.float64))
    z = torch.tensor([[1e4]], requires_grad=True)
    term = implied_likelihood_loss(z, torch.tensor([[0]]), R)
    term.total.backward()
    assert term.total.item() == pytest.approx(1e4)
    assert z.grad.item() == pytest.approx(1.0)
    z = torch.tensor([[-1e4]], requires_grad=True)
    term = implied_likelihood_loss(z, torch.tensor([[1]]), R)
    term.total.backward()
    assert term.total.item() == pytest.approx(1e4)
    assert z.grad.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("multiclass", [False, True])
def test_one_label_that_surely_holds_implies_its_row_as_a_class_does(multiclass):
    p = Problem(4, N=1, K=4, L=3, multiclass=multiclass, scale=1.0, with_base=False, unknown=0)
    classes = Multiclass("A", p.A.labels)
    for k in range(4):
        z = torch.full((1, 4), -500.0, dtype=torch.float64)
        z[0, k] = 500.0
        by_labels = log_implied_by_labels(z, p.relatedness).log_q.exp()
        of_class = log_implied(z, Relatedness(classes, p.B, p.relatedness.table).table).log_q.exp()
        torch.testing.assert_close(by_labels, of_class, rtol=1e-9, atol=1e-12)


def test_permuting_labels_permutes_gradients():
    p = Problem(7, N=5, K=5, L=3, multiclass=False, scale=1.0, with_base=True)
    order = torch.tensor([3, 1, 4, 0, 2])
    z_a, z_b, y_a, y_b = p.tensors()
    joint_of(p)({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b}).loss.backward()
    q = Problem(7, N=5, K=5, L=3, multiclass=False, scale=1.0, with_base=True)
    q.relatedness = Relatedness(q.A, q.B, p.relatedness.table[order], p.relatedness.base)
    permuted = z_a.detach()[:, order].requires_grad_()
    joint_of(q)({"A": permuted, "B": z_b}, {"A": y_a[:, order], "B": y_b}).loss.backward()
    torch.testing.assert_close(permuted.grad, z_a.grad[:, order])


@pytest.mark.parametrize("multiclass", [False, True])
def test_trust_zero_is_an_unknown_row_and_trust_one_changes_nothing(multiclass):
    p = Problem(8, N=6, K=4, L=3, multiclass=multiclass, scale=1.0, with_base=True)
    z_a, z_b, y_a, y_b = p.tensors()
    without = p.relatedness.table.clone()
    without[2] = math.nan
    unknown = Relatedness(p.A, p.B, without, p.relatedness.base)
    zero = torch.tensor([1.0, 1, 0, 1], dtype=torch.float64)
    for trust, R in ((zero, unknown), (torch.ones(4, dtype=torch.float64), p.relatedness)):
        for weighed, plain in zip(
            log_implied_by_labels(z_a, p.relatedness, trust=trust), log_implied_by_labels(z_a, R), strict=True
        ):
            torch.testing.assert_close(weighed, plain)
        for form in ("positive", "full"):
            weighed = co_annotation_from_labels(z_b, y_a, p.relatedness, form=form, trust=trust)
            plain = co_annotation_from_labels(z_b, y_a, R, form=form)
            assert weighed.total.item() == pytest.approx(plain.total.item())
            assert weighed.count.item() == pytest.approx(plain.count.item())
        weighed = co_annotation_to_source_labels(z_a, y_b, p.relatedness, trust=trust)
        plain = co_annotation_to_source_labels(z_a, y_b, R)
        assert weighed.total.item() == pytest.approx(plain.total.item())
        assert weighed.count.item() == plain.count.item()


@pytest.mark.parametrize("multiclass", [False, True])
def test_a_wholly_unknown_label_of_the_source_that_does_not_hold_changes_nothing(multiclass):
    p = Problem(11, N=5, K=4, L=3, multiclass=multiclass, scale=1.0, with_base=False)
    z_a, z_b, y_a, y_b = p.tensors()
    wide = Multilabel("A", (*p.A.labels, "unknown"))
    R = Relatedness(wide, p.B, torch.cat([p.relatedness.table, torch.full((1, 3), math.nan, dtype=torch.float64)]))
    absent = torch.cat([z_a, torch.full((5, 1), -500.0, dtype=torch.float64)], 1)
    more_y = torch.cat([y_a, torch.zeros(5, 1, dtype=torch.long)], 1)
    more_y[(y_a < 0).all(dim=1), -1] = -1
    for narrow, broad in (
        (distribution_matching_loss(z_a, z_b, p.relatedness), distribution_matching_loss(absent, z_b, R)),
        (implied_likelihood_loss(z_a, y_b, p.relatedness), implied_likelihood_loss(absent, y_b, R)),
        (co_annotation_to_classes(z_a, y_b, p.relatedness), co_annotation_to_classes(absent, y_b, R)),
    ):
        assert broad.total.item() == pytest.approx(narrow.total.item(), rel=1e-9)
        assert broad.count.item() == narrow.count.item()
    narrow, broad = co_annotation_to_labels(z_b, y_a, p.relatedness), co_annotation_to_labels(z_b, more_y, R)
    assert broad.total.item() == pytest.approx(narrow.total.item(), rel=1e-9)


def test_matching_is_at_its_minimum_where_the_predictions_agree():
    p = Problem(5, N=3, K=4, L=3, multiclass=False, scale=1.0, with_base=True, unknown=0)
    R = Relatedness(p.A, p.B, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).double())
    z_a = p.tensors()[0]
    found = log_implied_by_labels(z_a, R)
    agreeing = (found.log_q - found.log_not_q).detach().requires_grad_()
    distribution_matching_loss(z_a.detach(), agreeing, R, direction="implied_is_target").total.backward()
    assert agreeing.grad.abs().max() < 1e-12


def test_a_label_that_all_of_b_related_labels_speak_for_is_taken_to_hold():
    A, B = Multilabel("A", ("k", "m", "free")), Multilabel("B", ("l", "n"))
    R = Relatedness.from_rows(A, B, {"k": ["l", "n"], "m": "n", "free": []})
    s, weight = suggested_labels(torch.tensor([[1, 0], [1, 1], [-1, 1]]), R)
    assert s[:, :2].tolist() == [[0.5, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert weight.tolist() == [[1.0, 1.0, 0.0]] * 3


def test_memory_stays_linear_where_a_table_has_many_fractional_cells():
    """1,000 x 300 labels and 64 inputs would be 77 MB a tensor of shape (N, K, L); nothing near it is kept."""
    generator = torch.Generator().manual_seed(0)
    z, R = torch.randn(64, 1000, generator=generator, requires_grad=True), torch.rand(1000, 300, generator=generator)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        LogNoCause.apply(z, cause_view(R * 1e-3)).sum()
    assert sum(kept) <= 64 * 1000 + 1000 * 300


def kinds(*pairs):
    return {name: (Multiclass if kind == "c" else Multilabel)(name, ("x", "y", "z")) for name, kind in pairs}


@pytest.mark.parametrize(
    ("tasks", "edges"),
    [
        (("Ac",), ()),
        (("Ac", "Bl", "Cc"), ("AB", "BC", "CA")),
        (("Ac", "Bl", "Cl", "Dc"), ("AB", "BC", "CD", "DA", "BD", "AC")),
    ],
)
def test_any_graph_of_tasks_of_any_kind_has_every_part_and_teaches_every_head(tasks, edges):
    of = kinds(*((name, kind) for name, kind in tasks))
    draw = torch.Generator().manual_seed(0)

    def edge(a, b):
        table = torch.rand(3, 3, generator=draw, dtype=torch.float64)
        if isinstance(of[b], Multiclass):
            table = table / table.sum(dim=1, keepdim=True)
        return RelatedPair(
            Relatedness(of[a], of[b], table),
            DistributionMatching(0.5),
            SoftCoAnnotation(0.5, 0.1),
            ImpliedLikelihood(0.5),
        )

    joint = JointLoss(list(of.values()), [edge(a, b) for a, b in edges])
    logits = {name: torch.randn(8, 3, generator=draw, requires_grad=True) for name in of}
    labels = {}
    for i, (name, task) in enumerate(of.items()):  # disjoint: two inputs a task
        shape = (8,) if isinstance(task, Multiclass) else (8, 3)
        labels[name] = torch.full(shape, -1)
        labels[name][2 * i : 2 * i + 2] = torch.ones_like(labels[name][:2])
    value = joint(logits, labels)
    value.loss.backward()
    parts = {
        f"{loss}:{a}->{b}"
        for x, y in edges
        for loss, a, b in (("dm", x, y), ("sca", x, y), ("sca", y, x), ("ill", y, x))
    }
    assert set(value.parts) == set(of) | parts
    for name, z in logits.items():
        own = slice(2 * list(of).index(name), 2 * list(of).index(name) + 2)
        assert z.grad[own].any()
        others = torch.cat([z.grad[: own.start], z.grad[own.stop :]])
        assert bool(others.any()) == bool(edges), "the others' inputs teach it through the edges alone"


@pytest.mark.parametrize("multiclass", [False, True])
def test_cells_of_a_labels_row_count_as_the_least_trusted_of_them(multiclass):
    p = Problem(3, N=9, K=4, L=3, multiclass=multiclass, scale=1.0, with_base=True, unknown=0.0)
    cells = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z_a, z_b, y_a, y_b = p.tensors()
    pair = RelatedPair(
        p.relatedness, DistributionMatching(0.3), SoftCoAnnotation(1.0, form="full"), ImpliedLikelihood()
    )
    joint = JointLoss([p.A, p.B], [pair])
    losses = [
        joint({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b}, {p.relatedness.key: trust}).loss.item()
        for trust in (cells, cells.amin(dim=1))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
