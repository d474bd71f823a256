"""Ask trained models for the labels of datasets (``labels: {from: model}``), before the ingest reads them.

The rows are those of the dataset's own source, and what predicts them is `kindred predict`: an actor a processor or
GPU, part by part, so that it goes on where it was stopped. What was asked before is not asked again.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.base.ray_session import need_ray
from pipelines.base.storage import kind_of
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import LabelRule, PictureInput, VectorInput
from pipelines.case.label_models import description_of, model_digest, takes_columns
from pipelines.ingest.boxes import crop_of, input_of_data_set
from pipelines.ingest.list_rows import selected_rows
from pipelines.ingest.model_labels import asks_for_all, predictions_file
from pipelines.sources.embedded import write_embedded
from pipelines.sources.listing import Listing
from pipelines.use.answers import Asked
from pipelines.use.find_model import find_model
from pipelines.use.inputs import Listed
from pipelines.use.predict import input_of, predict_listed


def label_by_models(case: Case) -> None:
    """Predict the rows of every dataset that a model labels, where that is not done; needs Ray if any is missing.

    Raises:
        UserError: a source or a model cannot be used, or the model is another than the case says.
    """
    tasks = tasks_of(case)
    for name, data_set in case.datasets.items():
        rules = {task: rule for task, rule in data_set.labels.items() if rule.where == "model"}
        if not rules:
            continue
        write_embedded(case.embedded, case.data_root)
        listing = selected_rows(case, name)
        for task, rule in rules.items():
            full = asks_for_all(rule, tasks[task])
            file = predictions_file(case, name, rule, listing, full=full)
            if kind_of(file) != "file":  # tasks of one model, and parts of one split, share a file
                _predict(case, name, task, rule, listing, file, full=full)


def _predict(case: Case, name: str, task: str, rule: LabelRule, listing: Listing, file: str, *, full: bool) -> None:
    key, place = f"datasets.{name}.labels.{task}", str(rule.model)
    try:
        found = model_digest(place)
    except ValueError as error:
        raise UserError(f"{key}.model: {error}") from None
    if found != rule.sha256:
        raise UserError(f"{key}.model: the model at {place} has changed since the case was read; expected the same")
    need_ray()
    described = description_of(rule)
    # A backbone of somebody's own is run where the case's own networks run it anyway.
    run_code = described.network.get("backbone") == case.network.backbone
    models = find_model(place, run_code=run_code)
    source = case.datasets[name].source
    if takes_columns(source, described):
        columns = [one.model_dump() for one in input_of(described).table_columns]  # type: ignore[union-attr]
        source = type(source).model_validate(source.model_dump(by_alias=True) | {"vector_columns": columns})
        datasets = case.datasets | {name: case.datasets[name].model_copy(update={"source": source})}
        listing = selected_rows(case.model_copy(update={"datasets": datasets}), name)
    declared = _cropped_alike(case, name, input_of(described), f"{key}.model")
    done = predict_listed(
        models,
        [Listed(source, _one_each(listing))],
        file,
        Asked(full=full),
        run_code=run_code,
        declared=declared,
    )
    note(f"{name}: {done.rows:,} rows labelled by {place} ({described.case}, {described.arm}, seed {described.seed})")


def _cropped_alike(case: Case, name: str, declared: PictureInput | VectorInput, key: str) -> PictureInput | VectorInput:
    """Return what a model takes, of each image the part that the case takes: the model sees the same inputs."""
    if not isinstance(declared, PictureInput):
        return declared
    crop = crop_of(input_of_data_set(case.input, case.datasets[name]))
    if crop is None and declared.crop is not None and case.datasets[name].crop is None:
        raise UserError(
            f"{key}: found one that takes a part of each image, by the columns {', '.join(declared.crop.columns)}; "
            f"expected input.crop, or datasets.{name}.crop: false where images are cropped already"
        )
    return declared.model_copy(update={"crop": crop})


def _one_each(listing: Listing) -> Listing:
    """Return every input once: a table in long format has several rows of one. Rows are sorted by id."""
    ids = listing.rows["id"].combine_chunks()
    first = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False))[: len(ids)]
    return listing.take(pa.array(np.flatnonzero(first), pa.int64()))
