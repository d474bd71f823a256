"""What a searcher is: who says which settings are tried next, and what it is made for.

A searcher is asked with the trials as they stand, and keeps nothing that could not be had from their records: a search
that was killed asks a new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.case.search_parameters import Parameter
from pipelines.search.records import TrialRecord


@dataclass(frozen=True)
class SearchPlan:
    """What a searcher is made for.

    Attributes:
        space: by dotted key of the case, in an order in which each may depend on those before it.
        seed: of the search.
        tasks: the tasks, by whose scores a searcher of several objectives goes.
        several: whether it is the scores by task that are searched, and not one score.
    """

    space: Mapping[str, Parameter]
    seed: int
    tasks: tuple[str, ...] = ()
    several: bool = False


class Searcher(Protocol):
    """Says what is tried next."""

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the settings of the trial of that number, by dotted key; None where there is nothing left to try."""
        ...

    def tell(self, trial: TrialRecord, value: float | None) -> None:
        """Take a trial that has been begun (``waiting``), or has ended.

        Args:
            trial: its record.
            value: by the search's objective, higher is better; None where there is none.
        """
        ...


def settings_key(settings: Mapping[str, Any]) -> str:
    """Return what two trials of the same settings have in common, and no others."""
    return repr(sorted((key, _plain(value)) for key, value in settings.items()))


def _plain(value: Any) -> Any:
    """Return 1 for 1.0, as a case and JSON may say either; True stays apart from both."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
