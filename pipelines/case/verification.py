"""The section ``evaluation.verification``: are two pictures of one person, of people that nobody has trained on?"""

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipelines.base.section import Positive, Section
from pipelines.case.crop import OwnCrop
from pipelines.sources.registry import Source


class Verification(Section):
    """Pairs of inputs are compared by the cosine of what goes into a task's head, arm by arm and seed by seed.

    Half of the pairs show one identity, half two. The identities are no classes of the task: what is measured is how a
    network tells apart what it has not been trained on. Inputs that cannot be read, or have no box, take no part. See
    mtlcore.verification_scores.
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

    crop: OwnCrop | None = None
    """In the place of ``input.crop``, such as other columns; false: its images are cropped already."""

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        return content if self.crop is not None else {key: value for key, value in content.items() if key != "crop"}
