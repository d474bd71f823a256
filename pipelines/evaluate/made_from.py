"""What results were made from: decides whether they need not be made again."""

from pipelines.base.fingerprint import fingerprint
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.evaluate.results import Results
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.provenance import EVALUATION_VERSION
from pipelines.experiment.run import list_runs, read_record


def made_from(case: Case, data_sets: DataSets) -> str | None:
    """Return a fingerprint of all that results depend on; None where a run has not ended."""
    folder = experiment_folder(case)
    records = {str(run): read_record(run.folder(folder)) for run in list_runs(case)}
    if None in records.values():
        return None
    return fingerprint(
        {
            "version": [EVALUATION_VERSION, Results.model_fields["schema_version"].default],
            "arms": {name: arm.model_dump(mode="json", by_alias=True) for name, arm in case.arms.items()},
            "evaluation": case.evaluation.model_dump(mode="json"),
            "seeds": case.training.seeds,
            "data_sets": {name: manifest.model_dump(mode="json") for name, manifest in data_sets.manifests.items()},
            "runs": records,
        }
    )
