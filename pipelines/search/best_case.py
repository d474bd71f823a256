"""The best case as a file: the case with the chosen trial's values, and where each came from in comments."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.base.storage import join, write_whole
from pipelines.case.case import Case
from pipelines.case.load import as_yaml
from pipelines.search.population import is_by_step, lineage
from pipelines.search.records import TrialRecord
from pipelines.search.settings import current_values, with_case_settings


def write_best_case(
    case: Case, folder: str, trial: TrialRecord, verdict: str, trials: Sequence[TrialRecord] = ()
) -> str:
    """Write the case with a trial's settings; return the file, which `kindred run` takes.

    Args:
        case: the case that was searched.
        folder: where to.
        trial: the chosen one.
        verdict: what was found, for the file's head.
        trials: of a population, all of them: from whose states this one came.
    """
    before = current_values(case, trial.settings)
    found = f"trial {trial.number}" if trial.origin == "suggested" else "the case as it stands"
    comments = {
        key: f"{found}; was {before[key]!r}" if before.get(key) != value else f"{found}, as it was"
        for key, value in trial.settings.items()
    }
    in_arm = f"arms.{case.tuning.arm}."
    comments |= {in_arm + key.removeprefix("training."): of for key, of in comments.items() if "matching" in key}
    lines = verdict.splitlines()
    if taken_over := lineage(trials, trial.number) if trial.generations else []:
        lines += [f"Trial {trial.number} went on from the state of trial {of} at step {at}." for at, of in taken_over]
    head = "".join(f"# {line}\n" for line in lines)
    text = commented(as_yaml(with_case_settings(case, trial.settings)), comments)
    file = join(folder, f"{case.name}-tuned.yaml")
    write_whole(file, head + text)
    return file


def commented(text: str, comments: Mapping[str, str]) -> str:
    """Return YAML in block style, as :func:`pipelines.case.load.as_yaml` writes it, with comments at some keys.

    Args:
        text: the YAML.
        comments: by dotted key; a place in a list is its number.

    Example:
        >>> print(commented("a:\\n  b: 1\\n  c:\\n  - d: 2\\n", {"a.b": "found", "a.c.0.d": "kept"}), end="")
        a:
          b: 1  # found
          c:
          - d: 2  # kept
    """
    path: list[tuple[int, str]] = []  # of the sections that are open: how far they are indented, and their key
    counted: dict[str, int] = {}
    lines = []
    for line in text.splitlines():
        rest = line.lstrip(" ")
        indent = len(line) - len(rest)
        while rest.startswith("- "):
            # A list stands no further in than its key: its entries count as one step further.
            _close(path, indent, kept_list=True)
            whole = ".".join(key for _, key in path)
            counted[whole] = place = counted.get(whole, -1) + 1
            path.append((indent, f"{place}"))
            rest, indent = rest[2:], indent + 2
        key, colon, _ = rest.partition(":")
        if colon and not key.startswith(("'", '"')) and " " not in key:
            _close(path, indent)
            path.append((indent, key))
            if comment := comments.get(".".join(name for _, name in path)):
                line += f"  # {comment}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _close(path: list[tuple[int, str]], indent: int, kept_list: bool = False) -> None:
    """Leave the sections that a line at an indentation is not in."""
    while path and (path[-1][0] > indent or (path[-1][0] == indent and (not kept_list or path[-1][1].isdigit()))):
        path.pop()


def settings_words(settings: Mapping[str, Any]) -> str:
    """Return settings in a line, keys in short."""
    return ", ".join(f"{key.rpartition('training.')[2]}={_short(value)}" for key, value in settings.items())


def _short(value: Any) -> str:
    if is_by_step(value):
        first, *later = value.items()
        return " ".join([_short(first[1]), *(f"{step}:{_short(of)}" for step, of in later)])
    return f"{value:.3g}" if isinstance(value, float) else str(value)
