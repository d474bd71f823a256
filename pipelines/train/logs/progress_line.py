"""The progress of all runs of a command as one line."""

from collections.abc import Mapping

from pipelines.train.logs.step_metrics import StepMetrics

_MOST_PARTS = 4


def progress_of(latest: Mapping[str, StepMetrics]) -> tuple[int, str]:
    """Return how many steps are done, and the rest of the line: rates first, which are short, then the loss by part.

    Args:
        latest: by run, its newest metrics, the last updated run last. The steps that a run left out count as done.
    """
    done = sum(metrics.steps if metrics.ended else metrics.step for metrics in latest.values())
    running = [metrics for metrics in latest.values() if not metrics.ended] or list(latest.values())[-1:]
    if not running:
        return done, "starting workers"
    last = running[-1]
    wait = sum(metrics.data_wait for metrics in running) / len(running)
    rates = f"{_short(sum(metrics.rows_per_s for metrics in running))} rows/s, data wait {100 * wait:.0f} %"
    if last.workers > 1:
        rates = f"{last.workers} workers, {rates}"
    return done, f"{rates} · loss {last.loss:.3g}{_parts(last.parts)} · {last.run}"


def _parts(parts: Mapping[str, float]) -> str:
    """Return the parts of a loss; those of the same loss for several pairs (``dm:digit->traits``) as one sum."""
    summed: dict[str, float] = {}
    for name, value in parts.items():
        kind = name.partition(":")[0]
        summed[kind] = summed.get(kind, 0.0) + value
    if len(summed) < 2:
        return ""
    shown = [f"{name} {value:.2g}" for name, value in list(summed.items())[:_MOST_PARTS]]
    return f" ({', '.join(shown)}{', …' if len(summed) > _MOST_PARTS else ''})"


def _short(value: float) -> str:
    return f"{value / 1000:,.1f}k" if value >= 10_000 else f"{value:,.0f}"
