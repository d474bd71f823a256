"""How often two workers speak to each other in a step: what docs/scaling.md counts."""

import json

import pytest
from torch.profiler import ProfilerActivity, profile

from pipelines.ingest.ingest import ingested
from tests.two_workers import train_share

SMALL = [
    "training.batch_size=16",
    "training.seeds=[0]",
    "network={backbone: small_cnn, widths: [8, 16]}",
    "arms={joint: {}}",
    "evaluation.baseline=joint",
    "logging={every: 1000, relatedness_every: 0}",
    "training.workers=2",
    "training.checkpoints.every_s=1000",
]


def count_collectives(rank, cases, data_sets, out):
    """Train cases; write how many collectives each took, by name."""
    found = []
    for case in cases:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            train_share(rank, case, data_sets)
        events = [event for event in profiled.key_averages() if event.key.startswith("c10d::")]
        found.append({event.key: event.count for event in events})
    (out / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("settings", "sums"),
    [
        # gradients, of one bucket; counts that losses are divided by; what trust has seen
        ([], 3),
        (["training.matching.trust=full"], 3),
        (["arms={joint: {matching: none}}"], 2),
        # pieces add up on each worker
        (["training.accumulate=2"], 3),
        # the objectives' values decide their weights
        (["training.balancing.method=uncertainty"], 4),
        # the Jacobian takes the place of the gradients
        (["training.balancing.method=upgrad"], 3),
    ],
    ids=["default", "full trust", "no pairs", "pieces", "loss weights", "jacobian"],
)
def test_a_step_takes_so_many_sums_over_workers(digits_case, two_workers, tmp_path, settings, sums):
    cases = [digits_case(*SMALL, *settings, f"training.steps={n}") for n in (4, 8)]
    two_workers(count_collectives, cases, ingested(cases[0]), tmp_path)
    for rank in (0, 1):
        few, many = json.loads((tmp_path / f"{rank}.json").read_text())
        a_step = {name: (many[name] - few.get(name, 0)) / 4 for name in many if many[name] != few.get(name, 0)}
        assert a_step == {"c10d::allreduce_": sums}
