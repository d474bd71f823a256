"""The pipeline on Ray: ingest, train, evaluate, report, tune, predict, serve; its Python API and the command line.

A name is imported when it is first asked for (PEP 562), so that ``kindred --help`` waits for none of them:

=================  ==================================================================================================
name               what it is
=================  ==================================================================================================
``load_case``      a validated case, from a file or from objects
``run``            ingest, train, evaluate, report: ``run(case)`` is ``Trainer(case).fit()``
``Trainer``        the same with Ray's verbs, on a Ray that is there
``Result``         what it came to: ``table``, ``predictions``, ``plot()``, ``model(arm)``
``inspect``        the data before training
``load_model``     a trained model, from an export or an experiment
``Model``          what it is: ``predict(data)``
``trainable``      the function to give to a ``ray.tune.Tuner``
``UserError``      what is raised where a case, data or a call are wrong
=================  ==================================================================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.api.cases import load_case as load_case
    from pipelines.api.result import Result as Result
    from pipelines.api.trainer import Trainer as Trainer
    from pipelines.api.trainer import run as run
    from pipelines.api.trainer import trainable as trainable
    from pipelines.base.errors import UserError as UserError
    from pipelines.commands import inspect as inspect
    from pipelines.use.model import Model as Model
    from pipelines.use.model import load_model as load_model

_MODULE_OF = {
    "load_case": "pipelines.api.cases",
    "Result": "pipelines.api.result",
    "Trainer": "pipelines.api.trainer",
    "run": "pipelines.api.trainer",
    "trainable": "pipelines.api.trainer",
    "UserError": "pipelines.base.errors",
    "inspect": "pipelines.commands",
    "Model": "pipelines.use.model",
    "load_model": "pipelines.use.model",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
