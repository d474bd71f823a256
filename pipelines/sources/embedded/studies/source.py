"""Made vectors as a source."""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mtlcore.suggestions import did_you_mean
from pipelines.base.section import Positive
from pipelines.sources.embedded.studies.worlds import WORLDS
from pipelines.sources.made import MadeSource


class MadeVectors(MadeSource):
    """Vectors of a made world, with its labels as columns; the worlds: pipelines/sources/embedded/studies/worlds.py."""

    inputs: ClassVar[frozenset[str]] = frozenset({"vector"})

    kind: Literal["made_vectors"]
    world: str
    """The world's name."""
    rows: Positive
    """How many vectors."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides which."""
    first: Positive | None = None
    """How many of the numbers an input has, from the first on; all by default."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.world not in WORLDS:
            raise PydanticCustomError(
                "world",
                "world: found {world}; expected one of {worlds}{hint}",
                {"world": repr(self.world), "worlds": ", ".join(WORLDS), "hint": did_you_mean(self.world, WORLDS)},
            )
        return self

    def _made(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return WORLDS[self.world](np.random.default_rng((self.seed, list(WORLDS).index(self.world))), self.rows)

    def columns(self) -> pa.Table:
        """Return the labels."""
        return pa.table({name: pa.array(values.tolist()) for name, values in self._made()[1].items()})

    def vectors(self) -> np.ndarray:
        """Return the inputs, float32 (n, size)."""
        return self._made()[0][:, : self.first].astype(np.float32)
