"""Search space: weights, temperatures, forms and directions of every loss of related tasks."""

from typing import Any

from ray import tune


def space() -> dict[str, Any]:
    """Return the space; every weight may be 0, so that a loss which does not help is left out, and all of them may."""
    return {
        "ill.weight": tune.choice([0.0, 0.3, 1.0, 3.0, 10.0]),
        "dm.weight": tune.choice([0.0, 0.1, 0.3, 1.0]),
        "dm.tau": tune.loguniform(0.3, 3.0),
        "dm.direction": tune.choice(["own_is_target", "implied_is_target", "symmetric"]),
        "dm.stop_gradient": tune.choice([False, True]),
        "sca.weight": tune.choice([0.0, 0.1, 0.3, 1.0, 3.0]),
        "sca.to_source": tune.choice([False, True]),
        "sca.source_form": tune.choice(["bayes", "paper"]),
        "sca.form": tune.choice(["positive", "full"]),
        "sca.tau_co": tune.loguniform(0.03, 3.0),
    }
