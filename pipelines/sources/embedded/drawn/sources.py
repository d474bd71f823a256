"""Drawn faces, birds and shoes as sources: rows from a seed, their columns, and their pictures."""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipelines.base.section import Positive
from pipelines.sources.embedded.drawn.bird_species import SPECIES, TRAITS, traits_of
from pipelines.sources.embedded.drawn.birds import draw_bird
from pipelines.sources.embedded.drawn.expressions import Shown, shown
from pipelines.sources.embedded.drawn.faces import draw_face
from pipelines.sources.embedded.drawn.shoe_styles import CLOSURES, GENDERS, KINDS
from pipelines.sources.embedded.drawn.shoes import draw_shoe
from pipelines.sources.embedded.drawn.styles import STYLES, Style
from pipelines.sources.made import MadeSource

_LABELS, _PIXELS = 0, 1  # the streams of random numbers of a row: labels are known without drawing


class DrawnSource(MadeSource):
    """Pictures that are drawn; the same settings draw the same pixels, another seed draws others.

    Attributes:
        styles: the ways in which pictures are taken.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"picture"})

    rows: Positive
    """How many pictures."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything that is not set here."""
    size: Annotated[int, Field(ge=16, le=512)] = 48
    """Height and width in pixels."""
    style: Literal["studio", "outdoors", "web", "film", "night"] = "outdoors"
    """How they are taken: background, pose, light, what stands in the way, blur, noise, colours."""

    def rng(self, row: int, stream: int) -> np.random.Generator:
        """Return the generator of a row."""
        return np.random.default_rng((self.seed, row, stream))

    def taken(self) -> Style:
        """Return the style."""
        return STYLES[self.style]

    def row(self, row: int) -> dict[str, Any]:
        """Return the columns of a row."""
        raise NotImplementedError

    def columns(self) -> pa.Table:
        """Return the columns of all rows."""
        return pa.Table.from_pylist([self.row(row) for row in range(self.rows)])


class DrawnFaces(DrawnSource):
    """Faces of drawn people who show expressions through action units.

    Columns: ``expression`` (neutral, happiness, sadness, fear, anger, surprise, disgust); ``AU1`` to ``AU26``, drawn
    for the expression with the probabilities of the published table (``expression_to_au``), and 0.03 where it has
    none; ``AU1_intensity`` and so on, from 0 to 5; ``valence`` and ``arousal`` from -1 to 1; ``identity``; 40
    attributes, most of the person.
    """

    kind: Literal["drawn_faces"]
    people: tuple[Annotated[int, Field(ge=0)], int] = (0, 500)
    """The first person's number, and the one behind the last; a number is the same person everywhere."""
    expressions: Literal["balanced", "wild"] = "balanced"
    """How often each is shown: all the same, or as photographs show them, neutral and happiness most."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.people[1] <= self.people[0]:
            raise PydanticCustomError("people", "people: found nobody; expected [FIRST, LAST + 1]")
        return self

    def shown(self, row: int) -> Shown:
        """Return what the picture of a row shows."""
        return shown(self.rng(row, _LABELS), self.people, self.expressions)

    def row(self, row: int) -> dict[str, Any]:
        """Return the columns of a row."""
        return self.shown(row).columns()

    def picture(self, row: int) -> np.ndarray:
        """Draw a row."""
        face = self.shown(row)
        return draw_face(face.who, face.units, face.wears, self.taken(), self.size, self.rng(row, _PIXELS))


class DrawnBirds(DrawnSource):
    """Birds of fifty species, as many of each as chance has it.

    Columns: ``species``, ``family``, ``order``, and 30 traits (``crest``, ``wing_bar``, ``long_legs``, ...), which
    follow from the species.
    """

    kind: Literal["drawn_birds"]

    def species(self, row: int) -> str:
        """Return the species of a row."""
        return list(SPECIES)[int(self.rng(row, _LABELS).integers(len(SPECIES)))]

    def row(self, row: int) -> dict[str, Any]:
        """Return the columns of a row."""
        species = SPECIES[self.species(row)]
        has = traits_of(species)
        ranks = {"species": species.name, "family": species.family, "order": species.build.order}
        return ranks | {trait: trait in has for trait in TRAITS}

    def picture(self, row: int) -> np.ndarray:
        """Draw a row."""
        return draw_bird(SPECIES[self.species(row)], self.taken(), self.size, self.rng(row, _PIXELS))


class DrawnShoes(DrawnSource):
    """Shoes from their side, as a catalogue has them.

    Columns: ``type``, ``subtype``, which belongs to a type, ``closure`` and ``gender``, drawn for the subtype with its
    probabilities (``pipelines/sources/embedded/drawn/shoe_styles.py``).
    """

    kind: Literal["drawn_shoes"]

    def row(self, row: int) -> dict[str, Any]:
        """Return the columns of a row."""
        rng = self.rng(row, _LABELS)
        subtype = list(KINDS)[int(rng.integers(len(KINDS)))]
        kind = KINDS[subtype]
        closure = CLOSURES[rng.choice(len(CLOSURES), p=kind.closures)]
        gender = GENDERS[rng.choice(len(GENDERS), p=kind.genders)]
        return {"subtype": subtype, "type": kind.type, "closure": closure, "gender": gender}

    def picture(self, row: int) -> np.ndarray:
        """Draw a row."""
        of = self.row(row)
        return draw_shoe(of["subtype"], of["closure"], of["gender"], self.taken(), self.size, self.rng(row, _PIXELS))
