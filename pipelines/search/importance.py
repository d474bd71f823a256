"""How much each searched key matters: functional ANOVA over the trials, by Optuna."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.search.records import SearchRecord, TrialRecord

_LEAST_TRIALS = 8  # of fewer, a forest of trees says nothing


def importances(record: SearchRecord) -> dict[str, float]:
    """Return each key's share of what the score varies by, the greatest first, summing to 1; empty of few trials.

    F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014,
    where scikit-learn is installed; else PED-ANOVA (S. Watanabe et al., IJCAI 2023). Keys that are searched under a
    condition take no part.
    """
    keys = [key for key, how in record.space.items() if not how.get("when")]
    trials = [of for of in record.finished if all(key in of.settings for key in keys)]
    if len(trials) < _LEAST_TRIALS or len(keys) < 2 or len({of.score for of in trials}) < 2:
        return {}
    return _anova(trials, keys, record.space)


def _anova(trials: Sequence[TrialRecord], keys: Sequence[str], space: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    varied = [key for key in keys if len({str(of.settings[key]) for of in trials}) > 1]
    study = optuna.create_study(direction="maximize")
    distributions = {key: _distribution(space[key]) for key in varied}
    for of in trials:
        params = {key: _inner(space[key], of.settings[key]) for key in varied}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=of.score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        try:
            evaluator: Any = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except ImportError:  # no scikit-learn
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _distribution(how: Mapping[str, Any]) -> Any:
    import optuna.distributions as of

    if how["kind"] == "choice":
        return of.CategoricalDistribution(list(range(len(how["values"]))))
    if how["kind"] == "randint":
        return of.IntDistribution(int(how["low"]), int(how["high"]))
    return of.FloatDistribution(how["low"], how["high"], log=how["kind"] == "loguniform")


def _inner(how: Mapping[str, Any], value: Any) -> Any:
    return list(how["values"]).index(value) if how["kind"] == "choice" else value
