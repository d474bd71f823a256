"""Every loss against the float64 reference on random problems, and the properties that the method promises."""

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
    co_annotated_classes,
    co_annotation_to_classes,
    co_annotation_to_labels,
    distribution_matching_loss,
    implied_likelihood_loss,
    log_implied,
    supervised_loss,
)
from tests.mtlcore.losses import reference
from tests.mtlcore.losses.large_logits import assert_finite_at


class Problem:
    """A random pair of tasks with logits, labels and a relatedness that has exact zeros, ones and unknown cells."""

    def __init__(self, seed, N, C, L, multiclass, scale, dtype=torch.float64):
        draw = np.random.Generator(np.random.PCG64(seed))
        self.A = Multiclass("A", tuple(f"c{i}" for i in range(C)))
        outputs = tuple(f"l{i}" for i in range(L))
        self.B = Multiclass("B", outputs) if multiclass else Multilabel("B", outputs)
        self.multiclass = multiclass
        self.z_a = draw.normal(size=(N, C)) * scale
        self.z_b = draw.normal(size=(N, L)) * scale
        self.y_a = draw.integers(-1, C, size=N)
        self.y_b = draw.integers(-1, L, size=N) if multiclass else draw.integers(-1, 2, size=(N, L))
        if multiclass:
            table = draw.dirichlet(np.full(L, 0.3), size=C)
            table[draw.random(C) < 0.2] = np.nan
        else:
            table = draw.choice([0.0, 1.0, np.nan, 0.3, 0.9], size=(C, L), p=[0.35, 0.25, 0.1, 0.15, 0.15])
        self.R = table
        self.relatedness = Relatedness(self.A, self.B, torch.from_numpy(table))
        self.dtype = dtype
        of_cells = draw.random() < 0.4 and not multiclass
        self.trust = draw.choice([0.0, 0.2, 0.9, 1.0], size=(C, L) if of_cells else C)
        self.trust = None if draw.random() < 0.3 else self.trust

    @property
    def trust_tensor(self):
        return None if self.trust is None else torch.from_numpy(self.trust)

    def tensors(self):
        z = [torch.tensor(a, dtype=self.dtype, requires_grad=True) for a in (self.z_a, self.z_b)]
        return (*z, torch.from_numpy(self.y_a), torch.from_numpy(self.y_b))


problems = st.builds(
    Problem,
    seed=st.integers(0, 2**31),
    N=st.integers(1, 7),
    C=st.integers(1, 6),
    L=st.integers(1, 5),
    multiclass=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 10.0, 1000.0]),
)


def close(term, expected):
    total, count = expected
    assert term.count.item() == pytest.approx(count, rel=1e-9, abs=1e-12)
    assert term.total.item() == pytest.approx(total, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(problems)
def test_supervised_loss_is_the_reference(p):
    z_a, z_b, y_a, y_b = p.tensors()
    close(supervised_loss(z_a, y_a, p.A), reference.supervised(p.z_a, p.y_a, True))
    close(supervised_loss(z_b, y_b, p.B), reference.supervised(p.z_b, p.y_b, p.multiclass))


@settings(deadline=None, max_examples=60)
@given(
    problems,
    st.sampled_from([0.3, 1.0, 2.5]),
    st.sampled_from(["own_is_target", "implied_is_target", "symmetric"]),
    st.sampled_from(["full", "positive"]),
)
def test_distribution_matching_is_the_reference(p, tau, direction, form):
    z_a, z_b, _, _ = p.tensors()
    term = distribution_matching_loss(
        z_a, z_b, p.relatedness, tau=tau, direction=direction, form=form, trust=p.trust_tensor
    )
    close(term, reference.distribution_matching(p.z_a, p.z_b, p.R, p.multiclass, tau, direction, p.trust, form))


@settings(deadline=None, max_examples=120)
@given(problems, st.sampled_from([0.03, 0.1, 1.0]), st.sampled_from(["bayes", "paper"]), st.sampled_from([0.0, 0.05]))
def test_co_annotation_to_classes_is_the_reference(p, tau_co, form, clip):
    z_a, _, _, y_b = p.tensors()
    prior = np.linspace(0.2, 1.0, len(p.R)) if tau_co == 0.1 else None
    term = co_annotation_to_classes(
        z_a, y_b, p.relatedness, tau_co=tau_co, form=form, clip=clip, trust=p.trust_tensor,
        prior=None if prior is None else torch.from_numpy(prior),
    )  # fmt: skip
    close(term, reference.sca_to_classes(p.z_a, p.y_b, p.R, p.multiclass, tau_co, prior, p.trust, form, clip))


NESTED = {"frog": ["animal", "aquatic"], "ship": "aquatic", "car": "road", "truck": "road"}


def nested():
    A, B = Multiclass("A", tuple(NESTED)), Multilabel("B", ("animal", "aquatic", "road"))
    return Relatedness.from_rows(A, B, NESTED)


def test_the_posterior_counts_what_is_absent_and_the_papers_score_does_not():
    """A frog's labels hold a ship's, so both score 1; a ship's lack the animal, which speaks against the frog."""
    y = torch.tensor([[1, 1, 0], [0, 1, 0]])
    frog, ship = co_annotated_classes(y, nested()).q_A[:, :2]
    assert frog[0] / frog[1] == pytest.approx(0.95 / 0.05)
    assert ship[1] / ship[0] == pytest.approx(0.95 / 0.05)
    frog = co_annotated_classes(y, nested(), form="paper").q_A[0]
    assert frog[0] == frog[1] > frog[2]


@pytest.mark.parametrize("tau_co", [0.01, 1.0])
def test_classes_with_equal_rows_share_the_posterior_by_their_priors_at_any_temperature(tau_co):
    prior = torch.tensor([0.25, 0.25, 0.4, 0.1])
    q = co_annotated_classes(torch.tensor([[0, 0, 1]]), nested(), tau_co, prior).q_A[0]
    assert (q[2] / q[3]).item() == pytest.approx(4)
    assert q[2:].sum() > 0.9


def test_a_label_says_nothing_of_a_class_whose_cell_is_unknown_or_not_trusted():
    """The class keeps its prior; the others share the rest by the evidence. Trust 0 is the same as unknown."""
    A, B = Multiclass("A", ("a", "b", "c")), Multilabel("B", ("l", "m"))
    rows = {"a": {"l": 0.9, "m": 0.5}, "b": {"l": 0.2, "m": 0.5}, "c": {"l": None, "m": 0.5}}
    prior, y = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), torch.tensor([[1, 0], [0, 1]])
    unknown = co_annotated_classes(y, Relatedness.from_rows(A, B, rows), prior=prior)
    assert unknown.q_A[:, 2].tolist() == pytest.approx([0.5, 0.5])
    assert (unknown.q_A[0, 0] / unknown.q_A[0, 1]).item() == pytest.approx(0.2 * 0.9 / (0.3 * 0.2))
    wrong = Relatedness.from_rows(A, B, rows | {"c": {"l": 1.0, "m": 0.5}})
    trust = torch.ones(3, 2).index_put((torch.tensor(2), torch.tensor(0)), torch.tensor(0.0))
    torch.testing.assert_close(co_annotated_classes(y, wrong, prior=prior, trust=trust).q_A, unknown.q_A)
    z = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for loss in (distribution_matching_loss, implied_likelihood_loss):
        of_B = y if loss is implied_likelihood_loss else z[:, :2]
        of_trust, of_unknown = loss(z, of_B, wrong, trust=trust), loss(z, of_B, Relatedness.from_rows(A, B, rows))
        assert of_trust.total.item() == pytest.approx(of_unknown.total.item(), rel=1e-12)


def test_trust_by_cell_that_is_the_same_along_a_row_is_trust_by_row():
    p = Problem(23, N=6, C=4, L=3, multiclass=False, scale=1.0)
    z_a, z_b, y_a, y_b = p.tensors()
    rows = torch.tensor([1.0, 0.3, 0.0, 0.8], dtype=torch.float64)
    joint = joint_of(p)
    values = [
        joint({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b}, {"A->B": t}) for t in (rows, rows[:, None].expand(4, 3))
    ]
    for name, value in values[0].parts.items():
        assert values[1].parts[name].item() == pytest.approx(value.item(), rel=1e-12), name


def test_counting_alone_counts_as_the_loss_does():
    for multiclass in (False, True):
        p = Problem(29, N=6, C=4, L=3, multiclass=multiclass, scale=1.0)
        z_a, z_b, y_a, y_b = p.tensors()
        joint, logits, labels = joint_of(p), {"A": z_a, "B": z_b}, {"A": y_a, "B": y_b}
        for trust in (None, {"A->B": torch.tensor([0.0, 0.5, 1.0, 0.2])}):
            counted = joint.terms(logits, labels, trust, count_only=True)
            for name, (_, term) in joint.terms(logits, labels, trust).items():
                assert counted[name][1].count.item() == pytest.approx(term.count.item()), name


@settings(deadline=None, max_examples=60)
@given(problems, st.sampled_from(["positive", "full"]))
def test_co_annotation_to_labels_is_the_reference(p, form):
    _, z_b, y_a, _ = p.tensors()
    term = co_annotation_to_labels(z_b, y_a, p.relatedness, form=form, trust=p.trust_tensor)
    close(term, reference.sca_to_labels(p.z_b, p.y_a, p.R, p.multiclass, form, p.trust))


@settings(deadline=None, max_examples=60)
@given(problems)
def test_implied_likelihood_is_the_reference(p):
    z_a, _, _, y_b = p.tensors()
    term = implied_likelihood_loss(z_a, y_b, p.relatedness, trust=p.trust_tensor)
    close(term, reference.ill(p.z_a, p.y_b, p.R, p.multiclass, p.trust))


def joint_of(p, every_loss=True):
    on = 1.0 if every_loss else 0.0
    pair = RelatedPair(
        p.relatedness,
        DistributionMatching(0.7 * on, 1.3, "symmetric"),
        SoftCoAnnotation(0.4 * on, 0.1, "full"),
        ImpliedLikelihood(0.2 * on),
    )
    return JointLoss([p.A, p.B], [pair], {"A": 2.0})


@settings(deadline=None, max_examples=40)
@given(problems.map(lambda p: p), st.sampled_from([1.0, 100.0, 1e4]), st.sampled_from([torch.float32, torch.bfloat16]))
def test_values_and_gradients_are_finite_for_logits_to_1e4(p, size, dtype):
    p.dtype = dtype
    assert_finite_at(size, joint_of(p), *p.tensors(), autocast=dtype is torch.bfloat16)


@pytest.mark.parametrize("direction", ["own_is_target", "implied_is_target", "symmetric"])
@pytest.mark.parametrize("multiclass", [False, True])
def test_gradients_are_those_of_the_value(multiclass, direction):
    """With every cell known: an unknown cell's weight is held constant by design."""
    p = Problem(3, N=4, C=4, L=3, multiclass=multiclass, scale=2.0)
    p.relatedness = Relatedness(p.A, p.B, p.relatedness.table.nan_to_num(1 / 3))
    z_a, z_b, y_a, y_b = p.tensors()
    joint = JointLoss(
        [p.A, p.B],
        [
            RelatedPair(
                p.relatedness,
                DistributionMatching(0.7, 1.3, direction),
                SoftCoAnnotation(0.4, 0.1),
                ImpliedLikelihood(0.2),
            )
        ],
    )
    assert torch.autograd.gradcheck(lambda a, b: joint({"A": a, "B": b}, {"A": y_a, "B": y_b}).loss, (z_a, z_b))


def test_gradient_of_an_underflowing_sum_is_exact():
    """Class 0 alone allows the label and A gives it e-200 in probability: the loss still pulls towards it."""
    A, B = Multiclass("A", ("a", "b")), Multilabel("B", ("l",))
    R = Relatedness(A, B, torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    z = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    term = implied_likelihood_loss(z, torch.tensor([[1]]), R)
    term.total.backward()
    assert term.total.item() == pytest.approx(400.0)
    assert z.grad.tolist() == [[pytest.approx(-1.0), pytest.approx(1.0)]]


@pytest.mark.parametrize("multiclass", [False, True])
def test_matching_is_at_its_minimum_where_the_predictions_agree(multiclass):
    p = Problem(5, N=3, C=4, L=3, multiclass=multiclass, scale=1.0)
    table = torch.full((4, 3), 1 / 3) if multiclass else torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    R = Relatedness(p.A, p.B, table.double())
    z_a, _, _, _ = p.tensors()
    log_q, log_not_q, *_ = log_implied(z_a, R.table)
    agreeing = (log_q if multiclass else log_q - log_not_q).detach().requires_grad_()
    term = distribution_matching_loss(z_a.detach(), agreeing, R, direction="implied_is_target")
    term.total.backward()
    assert agreeing.grad.abs().max() < 1e-12
    other = agreeing.detach() + 0.5 * torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    assert distribution_matching_loss(z_a, other, R, direction="implied_is_target").total > term.total


def test_stopping_the_gradient_holds_the_target_constant():
    p = Problem(1, N=4, C=3, L=4, multiclass=False, scale=1.0)
    z_a, z_b, _, _ = p.tensors()
    distribution_matching_loss(z_a, z_b, p.relatedness, stop_gradient=True).total.backward()
    assert z_b.grad is None or not z_b.grad.any()
    assert z_a.grad.any()


def test_co_annotation_with_a_table_of_zeros_and_ones_is_the_supervised_loss():
    p = Problem(2, N=6, C=4, L=5, multiclass=False, scale=2.0)
    table = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]], dtype=torch.float64)
    R = Relatedness(p.A, p.B, table)
    _, z_b, y_a, _ = p.tensors()
    implied = torch.where((y_a >= 0)[:, None], table[y_a.clamp(min=0)].long(), -1)
    own, given = co_annotation_to_labels(z_b, y_a, R, form="full"), supervised_loss(z_b, implied, p.B)
    assert own.mean().item() == pytest.approx(given.mean().item(), rel=1e-12)

    B = Multiclass("B", ("k0", "k1"))
    hierarchy = Relatedness.from_rows(p.A, B, {"c0": "k0", "c1": "k1", "c2": "k1", "c3": "k0"})
    coarse = torch.where(y_a >= 0, torch.tensor([0, 1, 1, 0])[y_a.clamp(min=0)], -1)
    z = z_b[:, :2]
    own, given = co_annotation_to_labels(z, y_a, hierarchy), supervised_loss(z, coarse, B)
    assert own.mean().item() == pytest.approx(given.mean().item(), rel=1e-12)


def test_permuting_classes_permutes_gradients():
    p = Problem(7, N=5, C=5, L=3, multiclass=False, scale=1.0)
    order = torch.tensor([3, 1, 4, 0, 2])
    place = torch.argsort(order)
    z_a, z_b, y_a, y_b = p.tensors()
    joint_of(p)({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b}).loss.backward()

    q = Problem(7, N=5, C=5, L=3, multiclass=False, scale=1.0)
    q.relatedness = Relatedness(q.A, q.B, p.relatedness.table[order])
    permuted = z_a.detach()[:, order].requires_grad_()
    y = torch.where(y_a >= 0, place[y_a.clamp(min=0)], -1)
    joint_of(q)({"A": permuted, "B": z_b}, {"A": y, "B": y_b}).loss.backward()
    torch.testing.assert_close(permuted.grad, z_a.grad[:, order])


def test_wholly_unknown_labels_change_nothing():
    p = Problem(11, N=5, C=4, L=3, multiclass=False, scale=1.0)
    z_a, z_b, y_a, y_b = p.tensors()
    wide = Multilabel("B", ("l0", "l1", "l2", "unknown"))
    R = Relatedness(p.A, wide, torch.cat([p.relatedness.table, torch.full((4, 1), math.nan, dtype=torch.float64)], 1))
    more = torch.cat([z_b, torch.full((5, 1), 3.0, dtype=torch.float64)], 1)
    more_y = torch.cat([y_b, torch.full((5, 1), -1)], 1)
    for narrow, broad in (
        (distribution_matching_loss(z_a, z_b, p.relatedness), distribution_matching_loss(z_a, more, R)),
        (co_annotation_to_classes(z_a, y_b, p.relatedness), co_annotation_to_classes(z_a, more_y, R)),
        (co_annotation_to_labels(z_b, y_a, p.relatedness), co_annotation_to_labels(more, y_a, R)),
        (implied_likelihood_loss(z_a, y_b, p.relatedness), implied_likelihood_loss(z_a, more_y, R)),
    ):
        assert broad.total.item() == pytest.approx(narrow.total.item(), rel=1e-12)
        assert broad.count.item() == narrow.count.item()


def test_a_class_that_the_table_does_not_know_is_neither_taught_nor_ruled_out():
    A, B = Multiclass("A", ("a", "b", "unknown")), Multilabel("B", ("l", "m"))
    R = Relatedness.from_rows(A, B, {"a": "l", "b": "m", "unknown": {"l": None, "m": None}})
    z = torch.tensor([[0.2, -0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    co_annotation_to_classes(z, torch.tensor([[1, 0]]), R, tau_co=0.1).total.backward()
    assert z.grad[0, 2] == 0
    assert z.grad[0, 0] < 0 < z.grad[0, 1]


def test_between_multiclass_tasks_bayes_rule_weighs_by_the_prior():
    p = Problem(19, N=6, C=4, L=3, multiclass=True, scale=1.0)
    prior = (0.1, 0.2, 0.3, 0.4)
    z_a, _, _, y_b = p.tensors()
    pair = RelatedPair(p.relatedness, sca=SoftCoAnnotation(1.0, prior=prior))
    term = JointLoss([p.A, p.B], [pair]).terms({"A": z_a, "B": z_a[:, :3]}, {"A": y_b, "B": y_b})["sca:B->A"][1]
    close(term, reference.sca_to_classes(p.z_a, p.y_b, p.R, True, 1.0, prior))


def test_a_second_edge_between_two_tasks_is_refused():
    A, B = Multiclass("A", ("a", "b")), Multiclass("B", ("x", "y"))
    there, back = (
        Relatedness.from_rows(s, t, dict(zip(s.classes, t.classes, strict=True))) for s, t in ((A, B), (B, A))
    )
    with pytest.raises(ValueError, match="relatedness B -> A: a second edge between these tasks"):
        JointLoss([A, B], [RelatedPair(there), RelatedPair(back)])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"A": torch.tensor([0, 1])}, "labels: there are none of task 'B'"),
        ({"A": torch.tensor([0, 1]), "BB": torch.zeros(2)}, "there is no task 'BB'; did you mean 'B'"),
        ({"A": torch.tensor([0, 3]), "B": torch.zeros(2, 2).long()}, r"task 'A': found the label 3; .* in \[-1, 3\)"),
        ({"A": torch.tensor([0, 1]), "B": torch.full((2, 2), 2)}, r"task 'B': found the label 2; .* in \[-1, 2\)"),
        ({"A": torch.tensor([0.0, 1.0]), "B": torch.zeros(2, 2).long()}, r"task 'A': found labels of torch.float32"),
        ({"A": torch.tensor([0, 1]), "B": torch.zeros(2, 1).long()}, r"task 'B': found labels of shape \(2, 1\)"),
    ],
)
def test_wrong_labels_are_refused_by_task(labels, words):
    A, B = Multiclass("A", ("a", "b", "c")), Multilabel("B", ("l", "m"))
    with pytest.raises(ValueError, match=words):
        JointLoss([A, B])({"A": torch.zeros(2, 3), "B": torch.zeros(2, 2)}, labels)


def test_parts_of_a_batch_add_up_to_the_batch():
    p = Problem(13, N=7, C=4, L=3, multiclass=False, scale=1.0)
    z_a, z_b, y_a, y_b = p.tensors()
    joint = joint_of(p)
    whole = joint.terms({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b})
    cut = [slice(0, 2), slice(2, 3), slice(3, 7)]
    parts = [joint.terms({"A": z_a[s], "B": z_b[s]}, {"A": y_a[s], "B": y_b[s]}) for s in cut]
    for name, (_, term) in whole.items():
        assert sum(part[name][1].total for part in parts).item() == pytest.approx(term.total.item())
        assert sum(part[name][1].count for part in parts).item() == pytest.approx(term.count.item())


def test_a_batch_without_any_label_teaches_nothing_and_keeps_every_head_in_the_graph():
    p = Problem(17, N=4, C=3, L=2, multiclass=False, scale=1.0)
    z_a, z_b, _, _ = p.tensors()
    labels = {"A": torch.full((4,), -1), "B": torch.full((4, 2), -1)}
    value = joint_of(p, every_loss=False)({"A": z_a, "B": z_b}, labels)
    value.loss.backward()
    assert value.loss.item() == 0
    assert z_a.grad is not None
    assert z_b.grad is not None
    assert not z_a.grad.any()
    assert not z_b.grad.any()


def test_three_tasks_with_two_edges_have_a_part_each():
    A, B, C = Multiclass("A", ("a", "b")), Multilabel("B", ("l",)), Multiclass("C", ("x", "y"))
    pairs = [
        RelatedPair(Relatedness.from_rows(A, B, {"a": "l", "b": []}), dm=DistributionMatching(1.0)),
        RelatedPair(Relatedness.from_rows(A, C, {"a": "x", "b": "y"}), sca=SoftCoAnnotation(1.0)),
    ]
    logits = {"A": torch.zeros(3, 2), "B": torch.zeros(3, 1), "C": torch.zeros(3, 2)}
    labels = {"A": torch.tensor([0, -1, -1]), "B": torch.tensor([[-1], [1], [-1]]), "C": torch.tensor([-1, -1, 1])}
    parts = JointLoss([A, B, C], pairs)(logits, labels).parts
    assert set(parts) == {"A", "B", "C", "dm:A->B", "sca:C->A", "sca:A->C"}
    assert all(
        value.item() == pytest.approx(math.log(2), rel=1e-6) for name, value in parts.items() if "dm" not in name
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda z, y, R: distribution_matching_loss(z, z[:, :2], R, tau=0), "tau: found 0"),
        (lambda z, y, R: distribution_matching_loss(z, z[:, :2], R, direction="up"), "direction: found 'up'"),
        (lambda z, y, R: distribution_matching_loss(z, z[:, :2], R, form="half"), "form: found 'half'"),
        (lambda z, y, R: co_annotation_to_classes(z, y, R, tau_co=-1), "tau_co: found -1"),
        (lambda z, y, R: co_annotation_to_classes(z, y, R, form="half"), "form: found 'half'"),
        (lambda z, y, R: co_annotation_to_classes(z, y, R, clip=0.5), "clip: found 0.5"),
        (lambda z, y, R: co_annotation_to_labels(z[:, :2], y[:, 0], R, form="half"), "form: found 'half'"),
        (lambda z, y, R: JointLoss([R.source], [RelatedPair(R)]), "there is no task 'B'"),
        (lambda z, y, R: JointLoss([R.source], task_weights={"X": 1}), "there is no task 'X'"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_found(call, words):
    R = Relatedness.from_rows(
        Multiclass("A", ("a", "b", "c")), Multilabel("B", ("l", "m")), {"a": "l", "b": [], "c": "m"}
    )
    with pytest.raises(ValueError, match=words):
        call(torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.long), R)
