"""The outcome of a case: its results, and where they and the report lie."""

from dataclasses import dataclass
from typing import Any

from pipelines.evaluate.results import Results


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    results: Results
    folder: str
    report: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program: results.json's content and where things lie."""
        return {
            "results": self.results.model_dump(mode="json"),
            "experiment": self.folder,
            "report": self.report,
        }
