"""Drawn people: what stays the same in all pictures of one, as measures of a face, and as attributes."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.sources.embedded.drawn.canvas import Colour, rgb

_SKIN = ((250, 222, 200), (240, 200, 170), (224, 176, 140), (198, 146, 106), (150, 100, 68), (100, 66, 46))
_HAIR = {"Black": (34, 28, 30), "Brown": (98, 62, 38), "Blond": (218, 182, 110), "Red": (166, 76, 36),
         "Gray": (176, 176, 178)}  # fmt: skip
_EYES = ((70, 44, 26), (96, 66, 34), (70, 110, 70), (74, 120, 176), (110, 124, 132))

# Of the person, and of the picture: those that come and go, as far as a person's habits have it.
LASTING = (
    "Arched_Eyebrows", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair",
    "Brown_Hair", "Gray_Hair", "Red_Hair", "Bushy_Eyebrows", "Chubby", "Dark_Skin", "Freckles", "Goatee",
    "Heavy_Makeup", "High_Cheekbones", "Long_Hair", "Male", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face",
    "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Straight_Hair", "Wavy_Hair",
    "Wearing_Lipstick", "Young",
)  # fmt: skip
PASSING = (
    "Eyeglasses", "Mouth_Slightly_Open", "Smiling", "Wearing_Earrings", "Wearing_Hat", "Wearing_Necklace",
    "Wearing_Necktie",
)  # fmt: skip
ATTRIBUTES = (*LASTING, *PASSING)


@dataclass(frozen=True)
class Person:
    """The measures of a face, in units of half its height, and a person's habits."""

    width: float
    jaw: float
    skin: Colour
    hair: Colour
    eye: Colour
    brow: float
    arch: float
    eye_size: float
    eye_apart: float
    nose_length: float
    nose_width: float
    lips: float
    mouth_width: float
    has: frozenset[str]
    habits: dict[str, float]


@lru_cache(maxsize=4096)
def person(population: int, number: int) -> Person:
    """Return the person of a number, always the same in a population."""
    rng = np.random.default_rng((population, number, 40))
    has: set[str] = set()

    def decide(name: str, probability: float) -> bool:
        if rng.random() < probability:
            has.add(name)
        return name in has

    male, young = decide("Male", 0.5), decide("Young", 0.6)
    tone = rng.integers(len(_SKIN))
    skin = np.asarray(_SKIN[tone]) + rng.normal(0, 5, 3)
    has |= {"Pale_Skin"} if tone == 0 else {"Dark_Skin"} if tone == len(_SKIN) - 1 else set()
    shares = np.array([0.36, 0.28, 0.16, 0.08, 0.12] if young else [0.2, 0.2, 0.1, 0.06, 0.44])
    colour = list(_HAIR)[rng.choice(len(_HAIR), p=shares)]
    hair = np.asarray(_HAIR[colour]) + rng.normal(0, 7, 3)
    if decide("Bald", 0.18 if male else 0.0):
        has.add("Receding_Hairline")
    else:
        has.add(f"{colour}_Hair")
        has.add("Wavy_Hair" if rng.random() < 0.45 else "Straight_Hair")
        decide("Long_Hair", 0.08 if male else 0.75)
        if not decide("Receding_Hairline", 0.25 if male else 0.03):
            decide("Bangs", 0.35)
    decide("Oval_Face", 0.4)
    if "Oval_Face" not in has:
        decide("Chubby", 0.4)
    if male:
        decide("Goatee", 0.25)
        decide("Mustache", 0.3)
        decide("Sideburns", 0.3)
    if not {"Goatee", "Mustache"} & has:
        has.add("No_Beard")
    for name, probability in (
        ("Arched_Eyebrows", 0.3), ("Bushy_Eyebrows", 0.4 if male else 0.12), ("Big_Lips", 0.3), ("Big_Nose", 0.3),
        ("Freckles", 0.15), ("High_Cheekbones", 0.35), ("Narrow_Eyes", 0.25),
        ("Bags_Under_Eyes", 0.15 if young else 0.5),
        ("Heavy_Makeup", 0.0 if male else 0.35), ("Wearing_Lipstick", 0.0 if male else 0.5),
    ):  # fmt: skip
        decide(name, probability)
    if "Big_Nose" not in has:
        decide("Pointy_Nose", 0.35)
    decide("Rosy_Cheeks", 0.7 if "Heavy_Makeup" in has else 0.12)

    def measure(name: str, low: float, high: float, spread: float = 0.06) -> float:
        return float((high if name in has else low) * (1 + spread * rng.normal()))

    habits = {name: 0.9 if rng.random() < often else 0.03 for name, often in (
        ("Eyeglasses", 0.25), ("Wearing_Earrings", 0.05 if male else 0.5), ("Wearing_Hat", 0.15),
        ("Wearing_Necklace", 0.05 if male else 0.35), ("Wearing_Necktie", 0.3 if male else 0.02),
    )}  # fmt: skip
    return Person(
        width=measure("Chubby", 0.70 if "Oval_Face" in has else 0.77, 0.9, 0.03),
        jaw=measure("Chubby", 0.62 if "Oval_Face" in has else 0.76, 0.92, 0.04) + 0.06 * male,
        skin=rgb(skin),
        hair=rgb(hair),
        eye=rgb(_EYES[rng.integers(5 if tone < 3 else 2)]),
        brow=measure("Bushy_Eyebrows", 0.055, 0.12),
        arch=measure("Arched_Eyebrows", 0.02, 0.11),
        eye_size=measure("Narrow_Eyes", 0.115, 0.065),
        eye_apart=float(0.33 + 0.025 * rng.normal()),
        nose_length=measure("Pointy_Nose", 0.4, 0.5, 0.05),
        nose_width=measure("Big_Nose", 0.105 if "Pointy_Nose" in has else 0.14, 0.22),
        lips=measure("Big_Lips", 0.05, 0.105),
        mouth_width=float(0.27 + 0.02 * rng.normal()),
        has=frozenset(has),
        habits=habits,
    )
