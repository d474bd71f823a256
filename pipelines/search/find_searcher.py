"""A searcher by name: built in, of a user's own, one of Optuna's samplers, or one of Ray Tune's searchers."""

from pipelines.base.errors import UserError
from pipelines.case.search_spaces import SEARCHERS
from pipelines.search.optuna_searcher import OptunaSearcher
from pipelines.search.ray_searcher import RaySearcher
from pipelines.search.search_plan import Searcher, SearchPlan


def searcher_of(name: str, plan: SearchPlan) -> Searcher:
    """Return a searcher by name: built in, one of a user's own, one of Optuna's samplers or of Ray Tune's searchers.

    Raises:
        UserError: there is none, or it cannot be made.
    """
    try:
        make = SEARCHERS[name]
        module = str(getattr(make, "__module__", ""))
        mro = [f"{kind.__module__}.{kind.__name__}" for kind in getattr(make, "__mro__", ())]
        if module.startswith("optuna") or any(kind.startswith("optuna.samplers") for kind in mro):
            return OptunaSearcher(plan, lambda seed: make(seed=seed))
        if any(kind.startswith("ray.tune.search") for kind in mro):
            return RaySearcher(make(), plan)
        made: Searcher = make(plan)
    except UserError:
        raise
    except Exception as error:  # user code may raise anything
        raise UserError(f"tuning.search: found {name!r}, and it failed: {type(error).__name__}: {error}") from error
    if not (callable(getattr(made, "suggest", None)) and callable(getattr(made, "tell", None))):
        raise UserError(
            f"tuning.search: found {name!r}, which made {made!r}; expected an object with suggest(number) and "
            "tell(trial, value), one of Optuna's samplers or one of Ray Tune's searchers"
        )
    return made
