"""The settings of a published set, the same for all of them."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.base.section import Section
from pipelines.sources.settings import Paths


class PublishedSet(Section):
    """A dataset in the layout that its authors publish; what it has columns for: pipelines/sources/published.

    Attributes:
        part: one of the set's own parts (train, val, test, ...); all of them where it is not given.
        intensity: an action unit of at least this intensity holds; each set has a default of its own.
    """

    kind: Literal[
        "affectnet",
        "aff_wild2",
        "bp4d",
        "celeba",
        "cub_200_2011",
        "disfa",
        "emotionet",
        "grocery_store",
        "raf_db",
        "ut_zappos50k",
    ]
    path: Paths
    part: str | None = None
    intensity: Annotated[float, Field(ge=0, le=5)] | None = None
