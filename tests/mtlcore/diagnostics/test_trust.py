"""Trust: right cells are believed, wrong ones are not, and what is not believed teaches nothing."""

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
    ObservedCells,
    Relatedness,
    RelatednessTrust,
    RelatedPair,
    SoftCoAnnotation,
    cell_trust,
    co_annotation_to_labels,
    distribution_matching_loss,
    implied_likelihood_loss,
)
from mtlcore.diagnostics.observed_cells import class_profile, from_B
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


def estimated_from(kind, steps=100, table=None, rows=None, **options):
    """Train probes on the batches; return the estimate."""
    R = Relatedness(A, B[kind], TRUTH[kind] if table is None else table)
    trust = RelatednessTrust([R], {A.name: FEATURES, B[kind].name: FEATURES}, rows)
    for h, labels in batches(kind, steps, **options):
        trust.observe({A.name: h, B[kind].name: h}, labels)
    return trust


@pytest.fixture(scope="module")
def observed():
    """What was observed by kind of B, and by whether inputs are annotated for both tasks: the table takes no part."""
    cases = [(kind, both) for kind in TRUTH for both in (False, True)]
    return {(kind, both): next(iter(estimated_from(kind, both=both).observed().values())) for kind, both in cases}


def trust_in(table, kind, observed):
    return cell_trust(Relatedness(A, B[kind], table), observed)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", TRUTH)
def test_right_cells_are_trusted_and_their_intervals_hold_the_truth(observed, kind, both):
    share, low, high = observed[kind, both]
    assert trust_in(TRUTH[kind], kind, observed[kind, both]).min() == 1
    assert ((low <= share) & (share <= high)).all()
    assert (low - 0.05 <= TRUTH[kind]).all()
    assert (TRUTH[kind] <= high + 0.05).all()
    assert (high - low).mean() < 0.15


def wrong_tables():
    """Return wrong tables by name: those that people make."""
    right = 0.05 + 0.9 * TRUTH["multilabel"]
    row, swapped, cell, column = (right.clone() for _ in range(4))
    row[3] = 1 - row[3]
    swapped[:5] = right[[1, 2, 3, 4, 0]]
    cell[range(CLASSES), [0, 3, 1, 7, 5, 2]] = 1 - cell[range(CLASSES), [0, 3, 1, 7, 5, 2]]
    column[:, 4] = 1 - column[:, 4]
    return {
        "right": right, "one row": row, "rows swapped": swapped, "a cell in each row": cell, "a column": column,
        "shuffled": right[[1, 2, 3, 4, 5, 0]], "flattened": 0.4 + 0.2 * TRUTH["multilabel"],
    }  # fmt: skip


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", wrong_tables())
def test_wrong_cells_and_no_others_are_doubted(observed, name, both):
    table = wrong_tables()[name]
    wrong = (table > 0.5) != (TRUTH["multilabel"] > 0.5)
    found = trust_in(table, "multilabel", observed["multilabel", both])
    assert found[wrong].sum() == 0
    assert found[~wrong].min() > 0.5
    assert name == "flattened" or found[~wrong].min() == 1


@pytest.mark.parametrize("both", [False, True])
def test_a_wrong_row_of_a_multiclass_target_is_doubted_as_a_whole(observed, both):
    table = TRUTH["multiclass"].clone()
    table[3] = TRUTH["multiclass"][4]
    found = trust_in(table, "multiclass", observed["multiclass", both])
    assert found[3].sum() == 0
    assert found[[0, 1, 2, 4, 5]].min() == 1


def test_a_multilabel_source_doubts_only_what_is_too_large():
    task = Multilabel("signs", tuple(f"sign{k}" for k in range(CLASSES)))
    R = Relatedness(task, B["multilabel"], 0.05 + 0.9 * TRUTH["multilabel"])
    trust = RelatednessTrust([R], {"signs": FEATURES, "traits": FEATURES})
    for h, labels in batches("multilabel", 100):
        classes = labels["species"]
        signs = torch.nn.functional.one_hot(classes.clamp(min=0), CLASSES).where(classes[:, None] >= 0, -1)
        trust.observe({"signs": h, "traits": h}, {"signs": signs, "traits": labels["traits"]})
    observed = trust.observed()[R.key]
    assert cell_trust(R, observed).min() == 1
    inverted = Relatedness(task, B["multilabel"], 1 - R.table)
    found = cell_trust(inverted, observed)
    assert found[TRUTH["multilabel"] == 0].mean() < 0.1
    assert found[TRUTH["multilabel"] == 1].min() == 1  # another sign may have brought the trait about


def test_probes_that_err_are_corrected_by_their_confusion():
    """B's probe has a sensitivity of 0.7 and calls 0.2 of the others positive; the classes' shares are 0.9 and 0.3."""
    true = torch.tensor([[0.9], [0.3]])
    predicted = true * 0.7 + (1 - true) * 0.2
    inputs = torch.full_like(true, 1e6)
    by_A = torch.stack([0 * inputs, 0 * inputs, inputs, inputs * predicted, 0 * inputs])
    confusion = torch.tensor([[700.0], [1000.0], [200.0], [1000.0]])
    torch.testing.assert_close(class_profile(by_A, confusion, B["multilabel"]), true, atol=1e-3, rtol=0)


def test_a_share_of_mixed_inputs_is_bounded_by_the_mixture():
    """Of what is counted for a class a quarter is of others: whatever they are, the class's share lies within."""
    r = torch.tensor([0.75]).expand(10**6)
    for own, others in ((0.9, 0.0), (0.9, 1.0), (0.2, 0.5)):
        holding = r.sum() * (0.75 * own + 0.25 * others)
        cells = from_B(torch.stack([r.sum(), holding, r.square().sum()])[:, None, None], None).cells
        assert cells.low - 1e-3 <= own <= cells.high + 1e-3


def test_intervals_rest_on_distinct_inputs():
    few = estimated_from("multilabel", 60, rows={"species": 12, "traits": 40}).observed()["species->traits"]
    many = estimated_from("multilabel", 60).observed()["species->traits"]
    assert (few.high - few.low).mean() > 2 * (many.high - many.low).mean()


def test_unknown_cells_are_trusted_and_do_not_touch_others(observed):
    table = TRUTH["multilabel"].clone()
    table[:, 0] = torch.nan
    table[2, 3:5] = torch.nan
    assert trust_in(table, "multilabel", observed["multilabel", False]).min() == 1


def test_what_cannot_be_judged_is_trusted():
    """At the beginning, where labels cannot be learnt, and for a class that is never seen."""
    R = Relatedness(A, B["multilabel"], 1 - TRUTH["multilabel"])
    trust = RelatednessTrust([R], {"species": FEATURES, "traits": FEATURES})
    assert trust.by_edge()[R.key].min() == 1
    draw = torch.Generator().manual_seed(0)
    for h, labels in batches("multilabel", 60):
        noise = torch.zeros_like(h)
        labels["traits"] = torch.randint(2, labels["traits"].shape, generator=draw).where(labels["traits"] >= 0, -1)
        trust.observe({"species": noise, "traits": noise}, labels)
    assert trust.by_edge()[R.key].min() > 0.9

    unseen = RelatednessTrust([R], {"species": FEATURES, "traits": FEATURES})
    for h, labels in batches("multilabel", 60):
        labels["species"][labels["species"] == 2] = -1
        unseen.observe({"species": h, "traits": h}, {**labels, "traits": torch.full_like(labels["traits"], -1)})
    assert unseen.by_edge()[R.key][2].min() == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_trust_lies_between_0_and_1_and_follows_its_cell(rows, cells, seed):
    draw = torch.Generator().manual_seed(seed)
    source, target = Multiclass("S", tuple(map(str, range(rows)))), Multilabel("T", tuple(map(str, range(cells))))
    table = torch.rand(rows, cells, generator=draw).double()
    table[torch.rand(rows, cells, generator=draw) < 0.2] = torch.nan
    low, share, high = torch.rand(3, rows, cells, generator=draw).sort(dim=0).values
    found = cell_trust(Relatedness(source, target, table), ObservedCells(share, low, high))
    assert ((found >= 0) & (found <= 1)).all()
    inside = table.isnan() | ((table >= low) & (table <= high))
    assert (found[inside] == 1).all()
    order = torch.randperm(rows, generator=draw)
    moved = cell_trust(Relatedness(source, target, table[order]), ObservedCells(share[order], low[order], high[order]))
    assert torch.equal(moved, found[order])


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


def test_evidence_that_comes_late_is_seen_and_costs_less():
    """After two hundred steps every fourth one is looked at, and between them nothing is computed."""
    table = TRUTH["multilabel"].clone()
    table[2] = 1 - table[2]
    R = Relatedness(A, B["multilabel"], table)
    trust = RelatednessTrust([R], {"species": FEATURES, "traits": FEATURES})
    looked_at = 0
    for step, (h, labels) in enumerate(batches("multilabel", 450)):
        if step < 200:
            labels["traits"].fill_(-1)
        before = trust.observed()[R.key].share.clone() if 300 <= step < 320 else None
        trust.observe({"species": h, "traits": h}, labels)
        looked_at += before is not None and not torch.equal(before, trust.observed()[R.key].share)
    assert trust.by_edge()[R.key][2].max() < 0.5
    assert trust.by_edge()[R.key][[0, 1, 3, 4, 5]].min() > 0.9
    assert looked_at == 5


def test_two_workers_estimate_what_one_does(two_workers, tmp_path):
    two_workers(estimate, tmp_path)
    first, second = (safetensors.torch.load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, alone in estimated(0, 1).items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone, rtol=1e-3, atol=1e-5)
    assert first["trust"].min() == 1
    assert first["wrong"].max() < 0.1
