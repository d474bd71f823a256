"""What a notebook shows of an inspection: its counts by dataset and label, its warnings and leakage."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_MOST_LABELS = 12


def inspection_html(content: Mapping[str, Any]) -> str:
    """Return a fragment of HTML.

    Args:
        content: an inspection as plain values (``Inspection.model_dump()``).
    """
    when = "as ingested" if content["ingested"] else "before the ingest: inputs have not been read yet"
    parts = [f"<p><b>{escape(content['case'])}</b>: {when}</p>"]
    parts += [f"<p><b>warning:</b> {escape(words)}</p>" for words in content["warnings"]]
    header = "".join(
        f"<th>{name}</th>" for name in ("dataset", "split", "rows", "unusable", "task", "annotated", "labels")
    )
    rows = "".join(row for data_set in content["data_sets"] for row in _rows(data_set))
    parts.append(f"<table><tr>{header}</tr>{rows}</table>")
    for leak in content["leakage"] or ():
        related, too = ("look like some of", "") if leak["near"] else ("stand in", " too")
        parts.append(
            f"<p>{leak['rows']:,} rows of {escape(leak['data_set'])} {related} {escape(leak['also_in'])} "
            f"({escape(leak['also_in_split'])}){too}: "
            f"{escape(leak['done'])}</p>"
        )
    return "".join(parts)


def _rows(data_set: Mapping[str, Any]) -> Iterator[str]:
    tasks = data_set["tasks"] or ({"task": "", "annotated": 0, "labels": (), "numbers": ()},)
    for place, task in enumerate(tasks):
        whole = ""
        if place == 0:
            cells = (
                escape(data_set["name"]),
                data_set["split"],
                f"{data_set['rows']:,}",
                f"{data_set['quarantined']:,}",
            )
            whole = "".join(f"<td rowspan={len(tasks)}>{cell}</td>" for cell in cells)
        labels = sorted(task["labels"], key=lambda label: -label["holds"])
        said = [f"{escape(label['label'])} {label['holds']:,}" for label in labels[:_MOST_LABELS]]
        said += [f"and {len(labels) - _MOST_LABELS} more"] if len(labels) > _MOST_LABELS else []
        said += [
            f"{escape(one['name'])} " + (f"{one['quantiles'][2]:g} ± {one['spread']:g}" if one["quantiles"] else "-")
            for one in task["numbers"]
        ]
        yield (
            f"<tr>{whole}<td>{escape(task['task'])}</td><td>{task['annotated']:,}</td>"
            f"<td style='text-align:left'>{', '.join(said)}</td></tr>"
        )
    for stop in data_set["stops"]:
        yield f"<tr><td colspan=7><b>the ingest will stop:</b> {escape(stop)}</td></tr>"
