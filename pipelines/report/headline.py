"""What a case came to, in one line an arm: the first thing that a report, a table or a list of experiments says."""

from pipelines.evaluate.results import Results
from pipelines.report.units import difference_text, has_unit


def headlines(results: Results) -> list[str]:
    """Return a line for each arm that co-trains, or, where none does, for each that is compared with the baseline.

    A task's difference to the baseline is given where it is clear, in points; otherwise it is within chance.
    """
    arms = [arm for arm in results.arms if arm not in results.baselines and arm != results.baseline]
    arms = arms or [arm for arm in results.arms if arm != results.baseline]
    return [_line(results, arm) for arm in arms]


def _line(results: Results, arm: str) -> str:
    words, worse, known = [], [], False
    for task, result in results.arms[arm].items():
        if (difference := result.difference) is None:
            words.append(f"{task} not compared ({results.baseline} at chance)")
            continue
        known = True
        if difference.verdict == "no clear difference":
            words.append(f"{task} within chance")
        else:
            metric = result.primary_metric
            unit = f" ({metric.replace('_', '-')})" if has_unit(metric) else " points"
            words.append(f"{task} {difference_text(difference.value, metric)}{unit}")
        if difference.verdict == "worse":
            worse.append(task)
    end = f"; negative transfer on {', '.join(worse)}" if worse else "; no negative transfer" if known else ""
    return f"{arm}: {', '.join(words)}{end}{_to_the_best(results, arm)}"


def _to_the_best(results: Results, arm: str) -> str:
    """Say how an arm that co-trains stands to the best, on each task, of those that do not."""
    verdicts = {task: of.against_best.verdict for task, of in results.arms[arm].items() if of.against_best is not None}
    if len(results.baselines) < 2 or not verdicts:
        return ""
    ahead, behind = ([task for task, of in verdicts.items() if of == which] for which in ("better", "worse"))
    words = [f"ahead of every baseline on {', '.join(ahead)}"] if ahead else []
    words += [f"behind the best baseline on {', '.join(behind)}"] if behind else []
    return f"; {'; '.join(words) or 'no clear difference to the best baseline'}"
