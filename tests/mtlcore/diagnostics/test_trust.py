"""Trust: right rows are believed, wrong ones are not, and what is not believed teaches nothing."""

import pytest
import safetensors.torch
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
    RelatednessTrust,
    RelatedPair,
    SoftCoAnnotation,
    co_annotation_to_labels,
    distribution_matching_loss,
    implied_likelihood_loss,
    row_trust,
)
from tests.mtlcore.diagnostics.trust_on_workers import estimate, estimated

CLASSES, TRAITS, FEATURES = 6, 8, 24
A = Multiclass("species", tuple(f"s{c}" for c in range(CLASSES)))
TRUTH = {
    "multilabel": torch.bernoulli(
        torch.full((CLASSES, TRAITS), 0.5), generator=torch.Generator().manual_seed(2)
    ).double(),
    "multiclass": torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 2, 3]), 4).double(),
}
B = {
    "multilabel": Multilabel("traits", tuple(f"t{t}" for t in range(TRAITS))),
    "multiclass": Multiclass("genus", tuple(f"g{k}" for k in range(4))),
}


def batches(kind, steps, both=False, rows=64, seed=0):
    """Noisy features around a centre a class; a half annotated for A, the other for B, or all for both."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, generator=draw)
    for _ in range(steps):
        c = torch.randint(CLASSES, (rows,), generator=draw)
        h = centres[c] + 0.8 * torch.randn(rows, FEATURES, generator=draw)
        y_B = (
            torch.bernoulli(TRUTH[kind][c], generator=draw).long() if kind == "multilabel" else TRUTH[kind][c].argmax(1)
        )
        y_A = c.clone()
        if not both:
            y_A[rows // 2 :] = -1
            y_B[: rows // 2] = -1
        yield h, {A.name: y_A, B[kind].name: y_B}


def trust_in(table, kind, steps=150, **options):
    R = Relatedness(A, B[kind], table)
    trust = RelatednessTrust([R], {A.name: FEATURES, B[kind].name: FEATURES})
    for h, labels in batches(kind, steps, **options):
        trust.observe({A.name: h, B[kind].name: h}, labels)
    return trust.by_edge()[R.key]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", TRUTH)
def test_right_rows_are_trusted(kind, both):
    assert trust_in(TRUTH[kind], kind, both=both).min() > 0.9


@pytest.mark.parametrize("kind", TRUTH)
def test_one_wrong_row_among_right_ones_is_doubted_alone(kind):
    table = TRUTH[kind].clone()
    table[3] = TRUTH[kind][4] if kind == "multiclass" else 1 - table[3]
    found = trust_in(table, kind)
    assert found[3] < 0.2
    assert found[[0, 1, 2, 4, 5]].min() > 0.7


def test_a_shuffled_table_is_not_trusted():
    shuffled = TRUTH["multilabel"][[1, 2, 3, 4, 5, 0]]
    assert trust_in(shuffled, "multilabel").mean() < 0.35


def test_a_soft_table_of_the_right_shape_is_trusted():
    assert trust_in(0.2 + 0.6 * TRUTH["multilabel"], "multilabel").min() > 0.9


def test_unknown_cells_take_no_part():
    table = TRUTH["multilabel"].clone()
    table[:, 0] = torch.nan
    table[2, 3:5] = torch.nan
    assert trust_in(table, "multilabel").min() > 0.8


def test_nothing_is_trusted_before_anything_is_seen_nor_where_labels_cannot_be_learnt():
    R = Relatedness(A, B["multilabel"], TRUTH["multilabel"])
    trust = RelatednessTrust([R], {"species": FEATURES, "traits": FEATURES})
    assert trust.by_edge()[R.key].max() == 0
    for h, labels in batches("multilabel", 60):
        noise = torch.zeros_like(h)
        trust.observe({"species": noise, "traits": noise}, labels)
    assert trust.by_edge()[R.key].max() < 0.2


def test_rows_that_are_all_alike_cannot_be_judged_and_count_in_full():
    assert row_trust(torch.full((3, 2), 0.5), torch.zeros(2, 3, 3, 2)).tolist() == [1, 1, 1]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_trust_lies_between_0_and_1_and_follows_its_row(rows, cells, seed):
    draw = torch.Generator().manual_seed(seed)
    table = torch.rand(rows, cells, generator=draw)
    table[torch.rand(rows, cells, generator=draw) < 0.2] = torch.nan
    inputs = torch.randint(0, 30, (2, rows, cells), generator=draw).float()
    shares = torch.rand(2, rows, cells, generator=draw)
    evidence = torch.stack([inputs * shares, inputs, inputs * shares.square() * 1.1], dim=1)
    found = row_trust(table, evidence)
    assert ((found >= 0) & (found <= 1)).all()
    order = torch.randperm(rows, generator=draw)
    torch.testing.assert_close(row_trust(table[order], evidence[:, :, order]), found[order], rtol=1e-3, atol=1e-4)


def joint_problem():
    draw = torch.Generator().manual_seed(1)
    pair = RelatedPair(
        Relatedness(A, B["multilabel"], TRUTH["multilabel"]),
        DistributionMatching(0.7),
        SoftCoAnnotation(0.5, 0.1),
        ImpliedLikelihood(0.3),
    )
    _, labels = next(batches("multilabel", 1))
    logits = {"species": torch.randn(64, CLASSES, generator=draw), "traits": torch.randn(64, TRAITS, generator=draw)}
    return pair, {name: z.double().requires_grad_() for name, z in logits.items()}, labels


def gradients(joint, logits, labels, trust):
    loss = joint(logits, labels, trust).loss
    return torch.autograd.grad(loss, [logits["species"], logits["traits"]])


def test_without_trust_the_step_is_that_of_naive_training():
    pair, logits, labels = joint_problem()
    nothing = gradients(
        JointLoss([A, B["multilabel"]], [pair]), logits, labels, {"species->traits": torch.zeros(CLASSES)}
    )
    naive = gradients(JointLoss([A, B["multilabel"]]), logits, labels, None)
    for one, other in zip(nothing, naive, strict=True):
        torch.testing.assert_close(one, other)


def test_with_full_trust_the_step_is_that_of_the_plain_method():
    pair, logits, labels = joint_problem()
    joint = JointLoss([A, B["multilabel"]], [pair])
    full = gradients(joint, logits, labels, {"species->traits": torch.ones(CLASSES)})
    for one, other in zip(full, gradients(joint, logits, labels, None), strict=True):
        torch.testing.assert_close(one, other)


def test_a_row_without_trust_is_as_good_as_unknown():
    _, logits, labels = joint_problem()
    unknown = TRUTH["multilabel"].clone()
    unknown[2] = torch.nan
    trust = torch.tensor([1.0, 1, 0, 1, 1, 1])
    both = [
        (Relatedness(A, B["multilabel"], TRUTH["multilabel"]), trust),
        (Relatedness(A, B["multilabel"], unknown), None),
    ]
    for value in (
        lambda R, t: distribution_matching_loss(logits["species"], logits["traits"], R, trust=t),
        lambda R, t: implied_likelihood_loss(logits["species"], labels["traits"], R, trust=t),
        lambda R, t: co_annotation_to_labels(logits["traits"], labels["species"], R, trust=t),
    ):
        distrusted, missing = (value(*given).total for given in both)
        torch.testing.assert_close(distrusted, missing)


def test_estimating_draws_no_random_number_and_sends_no_gradient_into_the_network():
    before = torch.get_rng_state()
    R = Relatedness(A, B["multilabel"], TRUTH["multilabel"])
    trust = RelatednessTrust([R], {"species": FEATURES, "traits": FEATURES})
    h, labels = next(batches("multilabel", 1))
    h.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        trust.observe({"species": h, "traits": h.bfloat16()}, labels)
    assert h.grad is None
    assert torch.equal(before, torch.get_rng_state())
    assert trust.by_edge()[R.key].dtype is torch.float32


def test_the_estimate_goes_on_where_its_state_was_left():
    R = Relatedness(A, B["multilabel"], TRUTH["multilabel"])
    sizes = {"species": FEATURES, "traits": FEATURES}
    steps = list(batches("multilabel", 40))

    def observed(trust, part):
        for h, labels in part:
            trust.observe({"species": h, "traits": h}, labels)
        return trust

    whole = observed(RelatednessTrust([R], sizes), steps)
    first = observed(RelatednessTrust([R], sizes), steps[:25])
    resumed = RelatednessTrust([R], sizes)
    resumed.load_state_dict(first.state_dict())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    observed(resumed, steps[25:])
    assert torch.equal(whole.by_edge()[R.key], resumed.by_edge()[R.key])


def test_two_workers_estimate_what_one_does(two_workers, tmp_path):
    two_workers(estimate, tmp_path)
    first, second = (safetensors.torch.load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, alone in estimated(0, 1).items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone, rtol=1e-3, atol=1e-5)
    assert first["trust"].min() > 0.5
