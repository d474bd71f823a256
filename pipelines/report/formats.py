"""The report's tables as Markdown and as LaTeX, for a README, an issue or a paper."""

from collections.abc import Sequence

from pipelines.evaluate.results import Results, TaskResult
from pipelines.report.headline import headlines
from pipelines.report.results_table import best_lines, chance_lines, early_lines, few_seeds, trust_lines, unseen_lines
from pipelines.report.units import difference_text, interval_text, score_text

_SIGNS = {"better": "▲", "worse": "▼", "no clear difference": "≈"}
_TEX_SIGNS = {"better": r"$\blacktriangle$", "worse": r"$\blacktriangledown$", "no clear difference": r"$\approx$"}
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def as_markdown(results: Results) -> str:
    """Return what the report says, without figures, as Markdown."""
    seeds = len(results.seeds)
    lines = [f"# {results.case}", ""]
    lines += [f"**{_md(line)}**\n" for line in headlines(results)]
    lines += [
        f"{len(results.arms)} arms, {seeds} seed{'s' if seeds > 1 else ''}, {results.steps:,} updates each. "
        f"Differences to {_md(results.baseline)} in points [{round(100 * results.confidence)} % interval]; ▲ better, "
        "▼ negative transfer, ≈ within chance.",
        "",
    ]
    arms = list(results.arms)
    lines += _md_table(["task", "metric", *arms], [*_rows(results), _delta_m(results, "%")])
    notes = [few_seeds(seeds), *best_lines(results), *chance_lines(results), *unseen_lines(results)]
    notes += [*early_lines(results), *trust_lines(results)]
    lines += ["", *(f"- {_md(note.strip())}" for note in notes if note)]
    lines += ["", "## All metrics", ""]
    rows = [
        [task, metric.replace("_", "-"), *(_mean_and_deviation(results, arm, task, metric, "±") for arm in arms)]
        for task in results.tested
        for metric in next(iter(results.of_task(task).values())).metrics
    ]
    lines += _md_table(["task", "metric", *arms], rows)
    if results.verification is not None:
        lines += ["", f"## Verification by {_md(results.verification.task)}", ""]
        verified = [
            [
                arm,
                f"{results.verification.identities} identities that nobody trained on",
                score_text(of.mean("auc"), "auc") + (f" {_SIGNS[d.verdict]} {interval_text(d, '')}" if d else ""),
                score_text(of.mean("eer"), "eer"),
            ]
            for arm, of in results.verification.arms.items()
            for d in (of.difference,)
        ]
        lines += _md_table(["arm", "pairs of", "AUC", "equal error rate"], verified)
    lines += ["", "## Data", ""]
    data = [
        [name, of.split, f"{of.rows:,}", f"{of.quarantined:,}", f"{of.taken_out:,}", _md("; ".join(of.leaks))]
        for name, of in results.data_sets.items()
    ]
    lines += _md_table(["dataset", "split", "rows", "quarantined", "taken out for leakage", "leaks"], data)
    lines += ["", f"Experiment `{results.experiment}`, code {results.git_commit or 'not a git checkout'}."]
    return "\n".join(lines) + "\n"


def as_latex(results: Results) -> str:
    r"""Return the results as a LaTeX table; it needs the packages ``booktabs`` and ``amssymb``."""
    tasks, seeds = results.tested, len(results.seeds)
    metrics = {task: next(iter(results.of_task(task).values())).primary_metric for task in tasks}
    names = [f"{_tex(task)} ({_tex(metric.replace('_', '-'))})" for task, metric in metrics.items()]
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_tex(results.case)}: mean over {seeds} seed{'s' if seeds > 1 else ''}, difference to "
        rf"{_tex(results.baseline)} in points [{round(100 * results.confidence)}\,\% interval].}}",
        rf"  \begin{{tabular}}{{l{'rl' * len(names)}r}}",
        r"    \toprule",
        "    " + " & ".join(["arm", *(rf"\multicolumn{{2}}{{c}}{{{name}}}" for name in names), r"$\Delta_m$"]) + r" \\",
        r"    \midrule",
    ]
    gains = _delta_m(results, r"\%")[2:]
    for (arm, of_arm), gain in zip(results.arms.items(), gains, strict=True):
        cells = [_tex(arm)]
        for task in tasks:
            cells += list(_score_and_change(of_arm.get(task), _TEX_SIGNS))
        lines.append("    " + " & ".join([*cells, gain]) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _rows(results: Results) -> list[list[str]]:
    return [
        [
            task,
            next(iter(results.of_task(task).values())).primary_metric.replace("_", "-"),
            *(" ".join(_score_and_change(of_arm.get(task), _SIGNS)).strip() for of_arm in results.arms.values()),
        ]
        for task in results.tested
    ]


def _score_and_change(result: TaskResult | None, signs: dict[str, str]) -> tuple[str, str]:
    """Return both as text; empty where the arm does not serve the task, or is not compared."""
    if result is None:
        return "", ""
    metric, d = result.primary_metric, result.difference
    change = f"{signs[d.verdict]} {difference_text(d.value, metric)} {interval_text(d, metric)}" if d else ""
    return score_text(result.mean(), metric), change


def _delta_m(results: Results, percent: str) -> list[str]:
    cells = []
    for arm in results.arms:
        gain, d = results.delta_m[arm], results.delta_m_difference.get(arm)
        cell = "–" if gain is None else f"{100 * gain:+.1f} {percent}"
        cells.append(cell + (f" [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" if d else ""))
    return ["Δm", "mean relative gain", *cells]


def _mean_and_deviation(results: Results, arm: str, task: str, metric: str, sign: str) -> str:
    if task not in results.arms[arm]:
        return ""
    of = results.arms[arm][task]
    deviation = of.deviation(metric)
    return score_text(of.mean(metric), metric) + (
        f" {sign} {score_text(deviation, metric)}" if deviation == deviation else ""
    )


def _md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---", "---", *["---:"] * (len(head) - 2)]
    return [f"| {' | '.join(map(_md, row))} |" for row in (head, marks, *rows)]


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
