"""What the datasets of a case held, for results.json: rows, labels, and what was set aside."""

from pipelines.batches.batch import batch_sampler, training_sizes
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.evaluate.results import DataSetSummary


def summaries(case: Case, data_sets: DataSets) -> dict[str, DataSetSummary]:
    """Return what every dataset held, by its name: as training and evaluation use it, and what was set aside."""
    per_step = batch_sampler(case, training_sizes(data_sets), 0, list(case.tasks)).per_step
    return {
        name: DataSetSummary(
            split=manifest.split,
            rows=manifest.rows_used,
            quarantined=manifest.quarantined,
            annotated={task: counts.annotated for task, counts in manifest.labels.items()},
            content_hash=manifest.used_hash,
            rows_per_step=per_step.get(name),
            quarantined_for=manifest.reasons,
            taken_out=len(manifest.excluded),
            leakage=manifest.leakage,
            near=manifest.near,
        )
        for name, manifest in data_sets.manifests.items()
    }
