"""Search space: weights, temperatures, forms and directions of every loss of related tasks.

Every weight may be 0, so that a loss which does not help is left out, and all of them may: that is the naive network,
which a search must be able to come back to. The other weights are half an order of magnitude apart, since a sum of
losses is changed by less than seeds change it where a weight moves by less. ILL counts every label that a class implies
and is small where it is right, so its weights go further than DM's and SCA's; a DM weight over 1 outweighs the labels.
"""

from typing import Any

_MATCHING = "training.matching"


def space() -> dict[str, Any]:
    """Return the space; temperatures, directions and forms are drawn for the losses that have a weight."""
    with_dm = {f"{_MATCHING}.dm.weight": [0.1, 0.3, 1.0]}
    with_sca = {f"{_MATCHING}.sca.weight": [0.1, 0.3, 1.0, 3.0]}
    return {
        f"{_MATCHING}.ill.weight": {"choice": [0.0, 0.3, 1.0, 3.0, 10.0]},
        f"{_MATCHING}.dm.weight": {"choice": [0.0, 0.1, 0.3, 1.0]},
        f"{_MATCHING}.dm.tau": {"loguniform": [0.3, 3.0], "when": with_dm},
        f"{_MATCHING}.dm.direction": {
            "choice": ["own_is_target", "implied_is_target", "symmetric"],
            "when": with_dm,
        },
        f"{_MATCHING}.dm.stop_gradient": {"choice": [False, True], "when": with_dm},
        f"{_MATCHING}.dm.form": {"choice": ["full", "positive"], "when": with_dm},
        f"{_MATCHING}.sca.weight": {"choice": [0.0, 0.1, 0.3, 1.0, 3.0]},
        f"{_MATCHING}.sca.to_source": {"choice": [False, True], "when": with_sca},
        f"{_MATCHING}.sca.source_form": {"choice": ["bayes", "paper"], "when": with_sca},
        f"{_MATCHING}.sca.form": {"choice": ["positive", "full"], "when": with_sca},
        f"{_MATCHING}.sca.tau_co": {"loguniform": [0.03, 3.0], "when": with_sca},
    }
