"""Pseudo-labels, consistency and what tables say of them, against references in plain float64 loops."""

import math

import numpy as np
import pytest
import torch

from mtlcore import (
    DistributionMatching,
    JointLoss,
    MovingAverage,
    Multiclass,
    Multilabel,
    PseudoLabelling,
    Relatedness,
    RelatedPair,
    UnlabelledLoss,
    consistency_loss,
    evidence_for_source,
    evidence_for_target,
    flexible_thresholds,
    mlp,
    pseudo_label_loss,
    pseudo_labels,
    supervised_loss,
)

A, B = Multiclass("A", ("a", "b", "c", "d")), Multilabel("B", ("l", "m", "n"))
R = Relatedness.from_rows(A, B, {"a": "l", "b": ["m", "n"], "c": {"l": 0.3, "m": None, "n": 1.0}, "d": []})
RNG = np.random.default_rng(0)


def problem(rows=40, scale=3.0):
    z = {task.name: torch.from_numpy(scale * RNG.normal(size=(rows, len(task.outputs)))) for task in (A, B)}
    y = {"A": torch.from_numpy(RNG.integers(-1, 4, rows)), "B": torch.from_numpy(RNG.integers(-1, 2, (rows, 3)))}
    return z, y


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def softmax(values):
    values = np.asarray(values)
    e = np.exp(values - values.max())
    return e / e.sum()


def test_pseudo_labels_are_the_sure_predictions_of_entries_without_a_label():
    z, y = problem(rows=400)
    by_class, by_state = torch.tensor([0.5, 0.6, 0.9, 0.99]), torch.tensor([[0.6, 0.9], [0.5, 0.5], [0.95, 0.7]])
    found = {"A": pseudo_labels(z["A"], y["A"], A, by_class), "B": pseudo_labels(z["B"], y["B"], B, by_state)}
    for n in range(len(y["A"])):
        p = softmax(z["A"][n])
        right = int(p.argmax()) if y["A"][n] == -1 and p.max() >= by_class[p.argmax()] else -1
        assert found["A"][n] == right
        for label in range(3):
            p = sigmoid(z["B"][n, label])
            state = int(p > 0.5)
            sure = max(p, 1 - p) >= by_state[label, state]
            assert found["B"][n, label] == (state if sure and y["B"][n, label] == -1 else -1)
    assert {*found["A"].tolist()} == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("task", [A, B], ids=str)
def test_the_loss_is_the_supervised_one_over_all_entries_without_a_label(task):
    z, y = problem()
    strong = torch.from_numpy(RNG.normal(size=z[task.name].shape)).requires_grad_()
    pseudo = pseudo_labels(z[task.name], y[task.name], task, 0.7)
    term = pseudo_label_loss(strong, pseudo, y[task.name], task)
    assert term.count == (y[task.name] == -1).sum()
    torch.testing.assert_close(term.total, supervised_loss(strong, pseudo, task).total)
    term.total.backward()
    idle = (pseudo == -1) if task is B else (pseudo == -1)[:, None].expand_as(strong)
    assert (strong.grad[idle] == 0).all()
    assert (strong.grad[~idle] != 0).all()


@pytest.mark.parametrize("task", [A, B], ids=str)
def test_consistency_is_the_squared_distance_of_probabilities(task):
    z, y = problem()
    student = torch.from_numpy(RNG.normal(size=z[task.name].shape)).requires_grad_()
    teacher = z[task.name].clone().requires_grad_()
    term = consistency_loss(student, teacher, y[task.name], task)
    total = 0.0
    for n in range(len(y["A"])):
        if task is A:
            p, q = softmax(student[n].detach()), softmax(z["A"][n])
            total += ((p - q) ** 2).sum() * (y["A"][n] == -1)
        else:
            for label in range(3):
                d = sigmoid(student[n, label].item()) - sigmoid(z["B"][n, label])
                total += 2 * d**2 * (y["B"][n, label] == -1)
    torch.testing.assert_close(term.total, torch.as_tensor(total, dtype=torch.float64))
    term.mean().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_a_sure_network_has_finite_losses_and_gradients():
    for task, scale in ((A, 1e4), (B, 1e4)):
        z = (scale * torch.randn(6, len(task.outputs))).requires_grad_()
        y = torch.full((6,) if task is A else (6, 3), -1)
        pseudo = pseudo_labels(-z, y, task)
        total = pseudo_label_loss(z, pseudo, y, task).mean() + consistency_loss(z, -z, y, task).mean()
        total.backward()
        assert total.isfinite()
        assert z.grad.isfinite().all()


def reference_flexible(learned, seen, threshold, expected=None):
    relative = learned if expected is None else learned / (len(learned) * expected)
    most = max(relative.max(), seen - learned.sum())
    beta = np.minimum(relative / most, 1) if most else np.zeros_like(relative)
    return threshold * beta / (2 - beta)


def test_flexible_thresholds_are_the_papers_and_rise_as_predictions_become_sure():
    learned, seen, expected = np.array([[60.0, 4.0], [30.0, 30.0]]), np.array([70.0, 70.0]), np.array([[0.9, 0.1]] * 2)
    for prior in (None, expected):
        of_torch = None if prior is None else torch.tensor(prior)
        found = flexible_thresholds(torch.tensor(learned), torch.tensor(seen), 0.95, of_torch)
        for label in range(2):
            right = reference_flexible(learned[label], seen[label], 0.95, None if prior is None else prior[label])
            np.testing.assert_allclose(found[label], right)
    early, late = (flexible_thresholds(torch.tensor([n, n]), torch.tensor(100.0), 0.95) for n in (2.0, 49.0))
    assert (early < 0.05).all()
    assert (late == 0.95).all()
    assert (flexible_thresholds(torch.zeros(3), torch.zeros(()), 0.95) == 0).all()


def test_evidence_is_the_tables_likelihood_and_an_untrusted_cell_is_an_unknown_one():
    y = torch.tensor([[1, 0, -1], [-1, -1, -1], [0, 1, 1]])
    table = np.array([[1, 0, 0], [0, 1, 1], [0.3, np.nan, 1], [0, 0, 0]])
    found = evidence_for_source(y, R)
    column_mean = np.nanmean(table, axis=0)
    filled = np.where(np.isnan(table), column_mean, table).clip(0.05, 0.95)
    for n in range(3):
        for c in range(4):
            annotated = [(k, v) for k, v in enumerate(y[n].tolist()) if v >= 0]
            right = sum(math.log(filled[c, k] if v else 1 - filled[c, k]) for k, v in annotated)
            assert found[n, c] == pytest.approx(right, rel=1e-5)
    trust = torch.ones(4, 3)
    trust[0, 0] = 0.0
    rows = {"a": {"l": None, "m": 0.0, "n": 0.0}, "b": ["m", "n"], "c": {"l": 0.3, "m": None, "n": 1.0}, "d": []}
    unknown = Relatedness.from_rows(A, B, rows)
    torch.testing.assert_close(evidence_for_source(y, R, trust), evidence_for_source(y, unknown))
    y_A, prior = torch.tensor([0, 2, -1]), torch.tensor([0.2, 0.5, 0.7])
    torch.testing.assert_close(evidence_for_target(y_A, R, trust), evidence_for_target(y_A, unknown))
    joined = evidence_for_target(y_A, R, prior_B=prior)
    assert joined[1, 0] == pytest.approx(math.log(0.3 / 0.7) - math.log(0.2 / 0.8), rel=1e-5)
    assert joined[1, 1] == 0 and (joined[2] == 0).all()  # noqa: PT018


def test_multilabel_causes_bring_labels_about():
    parts, moves = Multilabel("parts", ("wings", "fins")), Multilabel("moves", ("flies", "swims"))
    table = Relatedness.from_rows(parts, moves, {"wings": {"flies": 0.8, "swims": 0.1}, "fins": {"swims": 0.9}})
    found = evidence_for_target(torch.tensor([[1, 1], [1, -1]]), table).sigmoid()
    assert found[0, 0] == pytest.approx(0.8, abs=1e-5)
    assert found[0, 1] == pytest.approx(1 - 0.9 * 0.1, abs=1e-5)
    assert (found[1] == 0.5).all(), "not all causes are annotated"
    assert evidence_for_source(torch.tensor([[1, 1]]), table) is None


def test_labels_of_another_task_rule_pseudo_labels_out_or_decide_them():
    sure, torn = torch.tensor([[9.0, 0.0, 0.0, 0.0]]), torch.tensor([[3.0, 3.0, 0.0, 0.0]])
    nobody, says_b = torch.tensor([-1]), evidence_for_source(torch.tensor([[0, 1, 1]]), R)
    assert pseudo_labels(sure, nobody, A, 0.9).item() == 0
    assert pseudo_labels(sure, nobody, A, 0.9, evidence=says_b, least_agreement=0.1).item() == -1
    assert pseudo_labels(torn, nobody, A, 0.9).item() == -1
    assert pseudo_labels(torn, nobody, A, 0.9, evidence=says_b).item() == 1
    says_l, unsure, nobody = (
        evidence_for_target(torch.tensor([0]), R),
        torch.tensor([[-9.0, -9.0, 0.1]]),
        -torch.ones(1, 3),
    )
    agreed = pseudo_labels(unsure, nobody, B, 0.5, evidence=says_l, least_agreement=0.1)
    assert agreed.tolist() == [[-1, 0, -1]], "of a l holds, and n does not"


def unlabelled(**settings):
    pseudo = PseudoLabelling(1.5, threshold=0.6, thresholds="flexible", relatedness="join", **settings)
    priors = {"A": [0.25] * 4, "B": [0.3, 0.5, 0.6]}
    return UnlabelledLoss([A, B], [R], pseudo=pseudo, consistency=2.0, priors=priors)


def test_terms_belong_to_their_tasks_objective_and_count_what_counts_says():
    (weak, y), (strong, _), (teacher, _) = problem(), problem(), problem()
    of = unlabelled()
    terms = of.terms(weak, strong, y, teacher=teacher, share=0.5)
    counts = of.counts(y, share=0.5)
    assert {name: (t.task, t.weight, t.term.count.item()) for name, t in terms.items()} == {
        name: (t.task, t.weight, t.term.count.item()) for name, t in counts.items()
    }
    joint = JointLoss([A, B], [RelatedPair(R, dm=DistributionMatching(0.3))], {"B": 3.0})
    plain, value = joint(weak, y), joint(weak, y, beside=terms)
    for task, alpha in (("A", 1.0), ("B", 3.0)):
        added = 0.75 * terms[f"pseudo:{task}"].term.mean() + 1.0 * terms[f"consistency:{task}"].term.mean()
        torch.testing.assert_close(value.objectives[task].share, plain.objectives[task].share + alpha * added)
    assert tuple(value.objectives) == joint.objective_names
    torch.testing.assert_close(value.objectives["matching"].share, plain.objectives["matching"].share)
    (divisors,) = joint.begin_counts(y, beside=counts).wait()
    total = 0.0
    for i in range(3):
        z, z_strong, labels, z_teacher = ({k: v[i::3] for k, v in part.items()} for part in (weak, strong, y, teacher))
        beside = of.terms(z, z_strong, labels, teacher=z_teacher, share=0.5)
        total = total + joint(z, labels, counts=divisors, beside=beside).loss
    torch.testing.assert_close(total, value.loss)


def test_a_warm_up_multiplies_the_couplings_alone():
    z, y = problem()
    joint = JointLoss([A, B], [RelatedPair(R, dm=DistributionMatching(0.3))])
    none, half, full = (joint(z, y, coupling=share) for share in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half.loss, (none.loss + full.loss) / 2)
    torch.testing.assert_close(none.loss, none.parts["A"] + none.parts["B"])
    assert full.parts == {name: pytest.approx(part) for name, part in half.parts.items()}


def test_thresholds_follow_what_was_seen_and_a_saved_state_goes_on():
    one, other = unlabelled(), unlabelled()
    for _ in range(3):
        (weak, y), (strong, _), (teacher, _) = problem(), problem(), problem()
        one.terms(weak, strong, y, teacher=teacher)
        one.end_step()
    assert all(tensor.sum() > 0 for tensor in one.state_dict().values())
    other.load_state_dict(one.state_dict())
    (weak, y), (strong, _), (teacher, _) = problem(), problem(), problem()
    for _ in range(2):
        first, second = (of.terms(weak, strong, y, teacher=teacher) for of in (one, other))
        assert all(torch.equal(term.term.total, second[name].term.total) for name, term in first.items())
        one.end_step()
        other.end_step()
    with pytest.raises(ValueError, match="state: found"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match="teacher: missing"):
        one.terms(weak, strong, y)


def test_a_moving_average_is_one_of_parameters_and_copies_buffers():
    network, _ = mlp((4,), (3,))
    network.append(torch.nn.BatchNorm1d(3))
    average = MovingAverage(network, 0.9)
    expected = [torch.zeros_like(p) for p in network.parameters()]
    for step in range(20):
        for parameter in network.parameters():
            parameter.data.normal_()
        network(torch.randn(8, 4))
        average.update(network, step)
        alpha = min(0.9, step / (step + 1))
        expected = [alpha * e + (1 - alpha) * p.detach() for e, p in zip(expected, network.parameters(), strict=True)]
    for found, right in zip(average.module.parameters(), expected, strict=True):
        torch.testing.assert_close(found, right)
        assert not found.requires_grad
    for found, right in zip(average.module.buffers(), network.buffers(), strict=True):
        assert torch.equal(found, right)
    with pytest.raises(ValueError, match="decay: found 1"):
        MovingAverage(network, 1.0)


def test_a_worker_without_a_row_takes_part():
    z, y = problem(rows=0)
    of = unlabelled()
    strong = {name: part.requires_grad_() for name, part in problem(rows=0)[0].items()}
    terms = of.terms(z, strong, y, teacher=z)
    value = JointLoss([A, B])(strong, y, beside=terms)
    value.loss.backward()
    assert value.loss == 0
    of.end_step()
    assert all(tensor.isfinite().all() for tensor in of.state_dict().values())
