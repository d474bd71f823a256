"""The section ``evaluation.verification``: are two pictures of one person, of people that nobody has trained on?"""

from typing import Annotated

from pydantic import Field

from pipelines.base.section import Positive, Section
from pipelines.sources.registry import Source


class Verification(Section):
    """Pairs of inputs are compared by the cosine of what goes into a task's head, arm by arm and seed by seed.

    Half of the pairs show one identity, half two. The identities are no classes of the task: what is measured is how a
    network tells apart what it has not been trained on. See mtlcore.verification_scores.
    """

    task: str
    """The task whose embedding is compared."""
    source: Source
    """Where the inputs lie, below data_root."""
    column: str
    """The source's column with the identity; of images in folders, ``folder``."""
    pairs: Positive = 3000
    """How many pairs of one identity, and as many of two."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides which pairs."""
