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
    """The set."""
    path: Paths
    """Where it lies below data_root: a path, a list of them, a pattern with *; also inside an archive, or a URL."""
    part: str | None = None
    """One of its own parts; all by default."""
    intensity: Annotated[float, Field(ge=0, le=5)] | None = None
    """From which an action unit holds."""
