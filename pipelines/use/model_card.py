"""README.md of an export: a model card in the form of Hugging Face's hub, from what is known of the training."""

from typing import Any

import yaml

from mtlcore.exported import Description
from pipelines.base.storage import is_remote
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case
from pipelines.evaluate.results import Results, TaskResult
from pipelines.report.units import difference_text, has_unit, interval_text, score_text

_MOST_NAMES = 40  # classes that are listed in the text; network.json has all of them
_FEW_HELD_OUT = 200


def portable_case(case: Case) -> str:
    """Return the case as YAML, without the paths of the machine that trained it."""
    content = case.model_dump(mode="json", by_alias=True, exclude_none=True)
    content.pop("storage", None)
    if not is_remote(str(case.data_root or "")):
        content.pop("data_root", None)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def usage_example(description: Description) -> str:
    """Return predict.py: ten lines that use the export with torch and mtlcore alone."""
    shape = ", ".join(map(str, description.input_shape))
    made = (
        f"inputs = torch.randint(0, 256, (2, {shape}), dtype=torch.uint8)  # images, as they are: no scaling"
        if description.input["kind"] == "picture"
        else f"inputs = torch.zeros(2, {shape})  # numbers, as they are: no scaling"
    )
    kinds = {task.kind for task in description.served.values()}
    said = {"multilabel": "probabilities of the labels", "regression": "numbers in the labels' unit"}
    other = "; ".join(words for kind, words in said.items() if kind in kinds) or "a class an input"
    return f'''"""Predict with this model in plain PyTorch; `kindred predict` reads folders, archives and tables."""

from pathlib import Path

import torch

from mtlcore import decided_class, load_exported

model = load_exported(Path(__file__).parent)
{made}
for name, said in model.predict(inputs).items():
    task = model.tasks[name]
    if task.kind in ("multiclass", "ordinal"):  # probabilities of the classes
        said = [task.outputs[i] for i in decided_class(said, task)]
    print(name, said if isinstance(said, list) else said.tolist())  # {other}
'''


def model_card(case: Case, data_sets: DataSets, description: Description, results: Results | None) -> str:
    """Return README.md: metadata for the hub, tasks, data, results with intervals, relatedness, trust, limits, use."""
    sections = [
        f"# {case.name}: {description.arm}",
        f"A network for {len(description.served)} related task{'s' * (len(description.served) != 1)}, trained with "
        "[Kindred](https://arxiv.org/abs/2401.01219) from separately labelled data.",
        "## Tasks\n\n" + _tasks(description),
        "## Input\n\n" + _input(description),
        "## Use\n\n" + _use(description),
        "## Training data\n\n" + _data(data_sets),
        "## Results\n\n" + _results(description, results),
        "## Relatedness\n\n" + _relatedness(case, description, results),
        "## Limits\n\n" + _limits(case, data_sets, description, results),
        "## Provenance\n\n" + _provenance(description),
    ]
    front = yaml.safe_dump(_metadata(case, description, results), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(case: Case, description: Description, results: Results | None) -> dict[str, Any]:
    pictures = description.input["kind"] == "picture"
    numbers = all(task.kind == "regression" for task in description.served.values())
    what = "regression" if numbers else "classification"
    # The hub has no name for numbers of an image.
    pipeline = ("other" if numbers else "image-classification") if pictures else f"tabular-{what}"
    metadata: dict[str, Any] = {
        "library_name": "pytorch",
        "pipeline_tag": pipeline,
        "tags": ["multi-task-learning", "kindred", *([f"image-{what}"] if pictures else [])],
    }
    of_arm = results.arms.get(description.arm, {}) if results else {}
    found: list[dict[str, Any]] = [
        {
            "task": {"type": pipeline},
            "dataset": {"name": f"{case.name} (test split), task {name}", "type": case.name},
            "metrics": [{"type": of_arm[name].primary_metric, "value": round(of_arm[name].mean(), 4)}],
        }
        for name in description.served
        if name in of_arm
    ]
    if found:
        metadata["metrics"] = sorted({one["metrics"][0]["type"] for one in found})
        metadata["model-index"] = [{"name": f"{case.name}-{description.arm}", "results": found}]
    return metadata


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _tasks(description: Description) -> str:
    rows = []
    for name, task in description.served.items():
        of_task = description.tasks[name]
        names = ", ".join(task.outputs[:_MOST_NAMES]) + (", ..." if len(task.outputs) > _MOST_NAMES else "")
        calibrated = f"T = {of_task.temperature:.2f}" if of_task.calibrated_on else "no"
        if task.kind == "regression":
            calibrated = "states its spread" if of_task.loss == "gaussian" else "numbers are not"
        if of_task.thresholds:
            calibrated += f"; thresholds {min(of_task.thresholds):.2f} to {max(of_task.thresholds):.2f}"
        rows.append([name, of_task.kind, f"{len(task.outputs)}: {names}", calibrated])
    return _table(["task", "kind", "classes, labels or numbers", "calibrated"], rows)


def _input(description: Description) -> str:
    given = description.input
    if given["kind"] == "vector":
        columns = [column["name"] for column in given.get("columns") or ()]
        named = f" The columns, in this order: {', '.join(columns)}." if columns else ""
        return f"Vectors of {given['size']} numbers, unscaled: the model scales them itself.{named}"
    colours = "red, green and blue" if given["channels"] == 3 else "grey"
    return (
        f"Images of {given['height']} x {given['width']} pixels, {colours}, uint8, channels first; the model scales "
        f"them itself. `kindred predict` brings images of other sizes to it (`fit: {given.get('fit', 'squash')}`)."
    )


def _use(description: Description) -> str:
    return f"""With PyTorch and `mtlcore` alone; nothing is unpickled and nothing is fetched:

```python
{usage_example(description).split(chr(10), 2)[2].strip()}
```

For folders, archives and tables, on Ray: `kindred predict THIS_FOLDER INPUT... --out predictions.parquet`; as a web
service: `kindred serve THIS_FOLDER`."""


def _data(data_sets: DataSets) -> str:
    rows = [
        [
            name,
            manifest.split,
            f"{manifest.rows_used:,}",
            ", ".join(f"{task} {counts.annotated:,}" for task, counts in manifest.labels.items()),
        ]
        for name, manifest in data_sets.manifests.items()
    ]
    return _table(["dataset", "split", "inputs", "annotated"], rows)


def _results(description: Description, results: Results | None) -> str:
    if results is None or description.arm not in results.arms:
        return "Not evaluated."
    percent = round(100 * results.confidence)
    of_arm = results.arms[description.arm]
    rows = [_result_row(name, of_arm[name]) for name in description.served if name in of_arm]
    metrics = [of_arm[name].primary_metric for name in description.served if name in of_arm]
    unit = "points, errors in the labels' unit" if any(map(has_unit, metrics)) else "points"
    header = ["task", "metric", "score", f"difference to {results.baseline}, {unit} [{percent} % interval]", "verdict"]
    seeds = f"{len(results.seeds)} seed{'s' * (len(results.seeds) != 1)}"
    return _table(header, rows) + (
        f"\n\nOn the test split, mean over {seeds}; this model is seed {description.seed}. An interval on the better "
        "side of 0 is a gain (above it, of an error below), one on the other side negative transfer."
    )


def _result_row(name: str, result: TaskResult) -> list[str]:
    d, metric = result.difference, result.primary_metric
    difference = "-" if d is None else f"{difference_text(d.value, metric)} {interval_text(d, metric)}"
    arrow = " (lower is better)" if result.lower_is_better else ""
    return [name, metric + arrow, score_text(result.mean(), metric), difference, "-" if d is None else d.verdict]


def _relatedness(case: Case, description: Description, results: Results | None) -> str:
    tasks, parts = tasks_of(case), []
    trust = results.trust.get(description.arm, {}) if results else {}
    for edge in case.relatedness:
        R = relatedness_of(edge, tasks)
        if edge.counted is not None:
            parts.append(f"{R.key}: counted from inputs annotated for both tasks.")
        else:
            parts.append(
                f"```\n{R}\n```" if len(R.source.outputs) <= _MOST_NAMES else f"{R.key}: a table of {R.table.shape}."
            )
        if R.key in trust:
            doubted = trust[R.key].doubted
            cells = f"; doubted: {'; '.join(map(str, doubted[:5]))}" if doubted else ""
            parts.append(f"Trust in {R.key}: {trust[R.key].mean():.2f}{cells}.")
    if description.readings:
        parts.append(f"Read backwards at prediction: {', '.join(description.readings)}.")
    return "\n\n".join(parts) or "None: the tasks share a network alone."


def _limits(case: Case, data_sets: DataSets, description: Description, results: Results | None) -> str:
    limits = ["Only inputs like those of the training data are predicted as well as the results say."]
    held_out = sum(of.rows_used for of in data_sets.of_split("validation").manifests.values())
    if not held_out:
        limits.append("Probabilities are not calibrated and thresholds are 0.5: the case has no validation split.")
    elif held_out < _FEW_HELD_OUT:
        limits.append(f"Calibration and thresholds come from {held_out} validation inputs: they are rough.")
    if results is not None:
        for task, classes in results.unseen_classes.items():
            limits.append(f"{task}: no labelled training input of {', '.join(classes[:_MOST_NAMES])}.")
        useless = [name for name, of in results.arms.get(description.arm, {}).items() if of.at_chance]
        limits += [f"{name}: no better than chance on the test split." for name in useless]
        limits += results.warnings
    auxiliary = [name for name, task in case.tasks.items() if task.auxiliary]
    if auxiliary:
        limits.append(f"Left out, as auxiliary tasks: {', '.join(auxiliary)}.")
    return "\n".join(f"- {words}" for words in limits)


def _provenance(description: Description) -> str:
    kept = description.provenance
    blocks = ", ".join(f"{name} {digest}" for name, digest in kept.get("blocks", {}).items())
    start = kept.get("started_from")
    from_tasks = f", trained on {', '.join(start['trained_on'])}" if start and start["trained_on"] else ""
    started = f" Started from {start['from']}{from_tasks}." if start else ""
    return (
        f"Runs {', '.join(kept.get('runs', []))}; Kindred {kept.get('kindred')}, torch {kept.get('torch')}; "
        f"content of the data: {blocks}. The case: `case.yaml`.{started}"
    )
