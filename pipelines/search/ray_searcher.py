"""A searcher of Ray Tune's, as a searcher here."""

from typing import Any

from pipelines.case.search_parameters import Parameter
from pipelines.search.records import TrialRecord
from pipelines.search.search_plan import SearchPlan


class RaySearcher:
    """One of Ray Tune's searchers (``ray.tune.search.Searcher``), told all over again what has been tried.

    Args:
        searcher: it, with the space that it was made with or none.
        plan: what is searched.
    """

    def __init__(self, searcher: Any, plan: SearchPlan) -> None:
        self._searcher = searcher
        searcher.set_search_properties("score", "max", {key: _ray_domain(of) for key, of in plan.space.items()})

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Ask it."""
        found = self._searcher.suggest(f"{number:05}")
        if found is None or found == "FINISHED":
            return None
        return dict(found)

    def tell(self, trial: TrialRecord, value: float | None) -> None:
        """Tell it what a trial came to."""
        if trial.has_ended:
            self._searcher.on_trial_complete(
                f"{trial.number:05}", None if value is None else {"score": value}, error=value is None
            )


def _ray_domain(parameter: Parameter) -> Any:
    from ray import tune

    if parameter.kind == "choice":
        return tune.choice(list(parameter.values))
    if parameter.kind == "randint":
        return tune.randint(int(parameter.low), int(parameter.high) + 1)
    return (tune.uniform if parameter.kind == "uniform" else tune.loguniform)(parameter.low, parameter.high)
