"""What a drawn face shows: an expression, the action units that go with it by the published table, valence, arousal."""

from dataclasses import dataclass

import numpy as np

from mtlcore.relatedness.expression_table import EXPRESSION_UNITS, UNITS
from pipelines.sources.embedded.drawn.people import ATTRIBUTES, PASSING, Person, person

EXPRESSIONS = ("neutral", *EXPRESSION_UNITS)
NUMBERS = tuple(int(unit.removeprefix("AU")) for unit in UNITS)
_STRAY = 0.03  # how likely a unit is shown that does not go with the expression
_WILD = {"neutral": 0.30, "happiness": 0.28, "sadness": 0.12, "fear": 0.06, "anger": 0.09, "surprise": 0.10,
         "disgust": 0.05}  # fmt: skip
# J. A. Russell, "A circumplex model of affect", 1980: where the expressions lie on the two axes, by eye.
_AFFECT = {"neutral": (0.0, 0.0), "happiness": (0.8, 0.4), "sadness": (-0.7, -0.4), "fear": (-0.6, 0.7),
           "anger": (-0.65, 0.6), "surprise": (0.2, 0.8), "disgust": (-0.7, 0.2)}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What a picture of a face shows.

    Attributes:
        who: whose face.
        number: the person's.
        expression: the expression.
        units: intensities of those that are shown, from 0 (not at all) to 1, by the action unit's number.
        valence, arousal: from -1 to 1.
        wears: of the attributes that come and go, those of this picture.
    """

    who: Person
    number: int
    expression: str
    units: dict[int, float]
    valence: float
    arousal: float
    wears: frozenset[str]

    def columns(self) -> dict[str, object]:
        """Return a row: expression, units, intensities from 0 to 5, valence, arousal, identity, attributes."""
        row: dict[str, object] = {"expression": self.expression, "identity": f"person{self.number:04d}"}
        row |= {f"AU{unit}": unit in self.units for unit in NUMBERS}
        row |= {f"AU{unit}_intensity": round(5 * self.units.get(unit, 0.0), 1) for unit in NUMBERS}
        row |= {"valence": round(self.valence, 3), "arousal": round(self.arousal, 3)}
        return row | {name: name in (self.wears if name in PASSING else self.who.has) for name in ATTRIBUTES}


def probabilities(expression: str) -> dict[int, float]:
    """Return how likely each action unit is in an expression, by its number: the published table, and strays."""
    row = EXPRESSION_UNITS.get(expression, {"prototypical": (), "observational": {}})
    likely = dict.fromkeys(UNITS, _STRAY) | dict.fromkeys(row["prototypical"], 1.0) | dict(row["observational"])
    return {int(unit.removeprefix("AU")): share for unit, share in likely.items()}


def shown(rng: np.random.Generator, people: tuple[int, int], frequencies: str) -> Shown:
    """Draw what a picture shows.

    Args:
        rng: decides everything.
        people: the first person's number, and the one behind the last.
        frequencies: of the expressions: ``balanced``, or ``wild``, as photographs show them.
    """
    number = int(rng.integers(*people))
    who = person(0, number)
    shares = [1 / len(EXPRESSIONS)] * len(EXPRESSIONS) if frequencies == "balanced" else [_WILD[e] for e in EXPRESSIONS]
    expression = EXPRESSIONS[rng.choice(len(EXPRESSIONS), p=shares)]
    strength = rng.uniform(0.6, 1.0)  # of the whole face
    units = {
        unit: float(np.clip(strength * rng.uniform(0.75, 1.25), 0.4, 1.0))
        for unit, share in probabilities(expression).items()
        if rng.random() < share
    }
    valence, arousal = (
        float(np.clip(v * (0.3 + 0.8 * strength) + 0.05 * rng.normal(), -1, 1)) for v in _AFFECT[expression]
    )
    wears = {name for name, often in who.habits.items() if rng.random() < often}
    wears |= {"Smiling"} if 12 in units else set()
    wears |= {"Mouth_Slightly_Open"} if {25, 26} & units.keys() and 24 not in units else set()
    return Shown(who, number, expression, units, valence, arousal, frozenset(wears))
