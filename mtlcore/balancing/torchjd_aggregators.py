"""TorchJD's aggregators by name: how each is built, which options it takes, and which state it carries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtlcore.balancing.dual_cone import project_onto_dual_cone

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator


@dataclass(frozen=True)
class TorchJDAggregator:
    """An aggregator of TorchJD.

    Attributes:
        class_name: in :mod:`torchjd.aggregation`.
        defaults: options and their values; where TorchJD has no default, the paper's.
        by_objective: options that hold a number an objective, by its name; all objectives are to be named.
        averages: its rows' weights sum to 1, so its result is multiplied by the number of objectives: identical
            gradients then give their sum, as in plain training, and the learning rate keeps its meaning. For the same
            reason a preference vector is 1 for every objective where it is not given.
        skips_absent: a zero gradient would stop all others, so an objective that nothing in the global batch counts
            for is left out of the step.
        draws: it draws random numbers.
        by_norm: it looks at absolute sizes where the paper does not, so it is given a matrix of norm 1.
        state: attributes that hold its state.
        needs: packages beyond TorchJD's own requirements.
        extra: of this project, the one that brings them.
        fewest: the fewest objectives that it takes, given its options.
    """

    class_name: str
    defaults: Mapping[str, Any]
    by_objective: tuple[str, ...] = ()
    averages: bool = False
    skips_absent: bool = False
    draws: bool = False
    by_norm: bool = False
    state: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    extra: str = "solvers"
    fewest: Callable[[Mapping[str, Any]], int] = lambda options: 1


_PREFERENCE: dict[str, Any] = {"pref_vector": None}

AGGREGATORS: dict[str, TorchJDAggregator] = {
    "aligned_mtl": TorchJDAggregator("AlignedMTL", {**_PREFERENCE, "scale_mode": "min"}, by_objective=("pref_vector",)),
    "cagrad": TorchJDAggregator(
        "CAGrad",
        {"c": 0.5, "norm_eps": 1e-4},
        averages=True,
        skips_absent=True,
        by_norm=True,
        needs=("cvxpy", "clarabel"),
    ),
    "config": TorchJDAggregator("ConFIG", _PREFERENCE, by_objective=("pref_vector",)),
    "constant": TorchJDAggregator("Constant", {"weights": None}, by_objective=("weights",)),
    "dualproj": TorchJDAggregator("DualProj", _PREFERENCE, by_objective=("pref_vector",)),
    "excess_mtl": TorchJDAggregator(
        "ExcessMTL",
        {"robust_step_size": 1.0, "n_warmup_steps": 0},
        averages=True,
        state=("_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum", "_n_steps"),
    ),
    "fairgrad": TorchJDAggregator("FairGrad", {"alpha": 1.0, "max_iters": None}, skips_absent=True, needs=("scipy",)),
    "graddrop": TorchJDAggregator("GradDrop", {"leak": None}, by_objective=("leak",), draws=True),
    "gradvac": TorchJDAggregator("GradVac", {"beta": 0.5, "eps": 1e-8}, draws=True, state=("_phi_t",)),
    "imtl_g": TorchJDAggregator("IMTLG", {}, averages=True),
    "krum": TorchJDAggregator(
        "Krum",
        {"n_byzantine": 0, "n_selected": 1},
        averages=True,
        fewest=lambda options: max(options["n_byzantine"] + 3, options["n_selected"]),
    ),
    "mean": TorchJDAggregator("Mean", {}),
    "mgda": TorchJDAggregator("MGDA", {"epsilon": 0.001, "max_iters": 100}, averages=True, skips_absent=True),
    "nash_mtl": TorchJDAggregator(
        "NashMTL",
        {"max_norm": 1.0, "update_weights_every": 1, "optim_niter": 20},
        state=("prvs_alpha", "step"),
        needs=("cvxpy", "ecos"),
        extra="nash-mtl",  # apart from the other solvers: ecos is under the GPL
    ),
    "pcd": TorchJDAggregator(
        "PCD", {"tau": 0.02, "beta": 0.999, "eps": 1e-8}, by_objective=("tau",), state=("_sq_norm_ema", "_n_steps")
    ),
    "pcgrad": TorchJDAggregator("PCGrad", {}, draws=True),
    "random_gradients": TorchJDAggregator("Random", {}, averages=True, draws=True),
    "sum": TorchJDAggregator("Sum", {}),
    "trimmed_mean": TorchJDAggregator(
        "TrimmedMean", {"trim_number": 1}, averages=True, fewest=lambda options: 2 * options["trim_number"] + 1
    ),
    "upgrad": TorchJDAggregator("UPGrad", _PREFERENCE, by_objective=("pref_vector",)),
}


def build_aggregator(
    name: str, objectives: Sequence[str], options: Mapping[str, Any], like: Tensor | None = None
) -> "Aggregator":
    """Build one of :data:`AGGREGATORS`.

    Args:
        name: its key.
        objectives: their names, in the order of the Jacobian's rows.
        options: what differs from the defaults.
        like: of the Jacobian's dtype and device.

    Raises:
        ValueError: a package is missing, an option is out of its range, or there are too few objectives.
    """
    entry = AGGREGATORS[name]
    missing = [package for package in entry.needs if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"method: {name!r} needs {', '.join(missing)}, not installed here; pip install 'kindred-mtl[{entry.extra}]'"
        )
    settings = {**entry.defaults, **options}
    like = torch.zeros(()) if like is None else like
    if len(objectives) < (fewest := entry.fewest(settings)):
        raise ValueError(f"method: {name!r} needs {fewest} objectives; found {', '.join(objectives)}")
    for option in entry.by_objective:
        if isinstance(settings[option], Mapping):
            # PCD's first objective is the primary one, which the others are constrained by.
            named = objectives[1:] if option == "tau" else objectives
            settings[option] = _by_objective(option, settings[option], named).to(like)

    import torchjd.aggregation
    from torchjd.linalg import DualConeProjector, PSDMatrix

    # Here, since its base class comes with TorchJD, which is imported only where a method needs it.
    class ActiveSetProjector(DualConeProjector):  # type: ignore[misc]
        def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:
            return project_onto_dual_cone(U, G)

    if settings.get("pref_vector", 0) is None:
        settings["pref_vector"] = torch.ones(len(objectives)).to(like)
    if name == "nash_mtl":
        settings["n_tasks"] = len(objectives)
    if name in ("upgrad", "dualproj"):
        settings["projector"] = ActiveSetProjector()
    if name == "constant" and settings["weights"] is None:
        raise ValueError("weights: missing; 'constant' needs a number for every objective")
    built: Aggregator = getattr(torchjd.aggregation, entry.class_name)(**settings)
    return built


def _by_objective(option: str, weights: Mapping[str, float], objectives: Sequence[str]) -> Tensor:
    if set(weights) != set(objectives):
        raise ValueError(
            f"{option}: found {', '.join(weights) or 'none'}; a number for each of {', '.join(objectives)}"
        )
    return torch.tensor([float(weights[name]) for name in objectives])
