"""Kinds of drawn shoes: the type of each, how it is closed, and for whom it is made, as a catalogue has them."""

from dataclasses import dataclass

TYPES = ("Shoes", "Boots", "Sandals", "Slippers")
CLOSURES = ("Lace_up", "Slip_on", "Zipper", "Buckle", "Hook_and_Loop")
GENDERS = ("Men", "Women", "Boys", "Girls")


@dataclass(frozen=True)
class Kind:
    """A subtype of shoes.

    Attributes:
        type: what it belongs to.
        shaft: the height above the sole, 0 for none.
        heel: of the heel, at most.
        opening: how far the upper part reaches over the foot: 1 all of it, 0 none.
        closures: how likely it is closed each way, in the order of ``CLOSURES``.
        genders: how likely it is made for each, in the order of ``GENDERS``.
    """

    type: str
    shaft: float
    heel: float
    opening: float
    closures: tuple[float, ...]
    genders: tuple[float, ...]


KINDS = {
    "Sneakers": Kind("Shoes", 0.32, 0.05, 1.0, (0.7, 0.1, 0.0, 0.0, 0.2), (0.35, 0.25, 0.2, 0.2)),
    "Oxfords": Kind("Shoes", 0.3, 0.12, 1.0, (0.9, 0.0, 0.0, 0.1, 0.0), (0.7, 0.2, 0.1, 0.0)),
    "Loafers": Kind("Shoes", 0.24, 0.1, 0.8, (0.0, 0.9, 0.0, 0.1, 0.0), (0.55, 0.35, 0.1, 0.0)),
    "Boat_Shoes": Kind("Shoes", 0.24, 0.05, 0.85, (0.8, 0.2, 0.0, 0.0, 0.0), (0.55, 0.15, 0.25, 0.05)),
    "Flats": Kind("Shoes", 0.12, 0.04, 0.45, (0.0, 0.8, 0.0, 0.2, 0.0), (0.0, 0.7, 0.0, 0.3)),
    "Heels": Kind("Shoes", 0.12, 0.75, 0.45, (0.0, 0.75, 0.0, 0.25, 0.0), (0.0, 0.95, 0.0, 0.05)),
    "Clogs": Kind("Shoes", 0.26, 0.22, 0.9, (0.0, 0.8, 0.0, 0.2, 0.0), (0.2, 0.5, 0.15, 0.15)),
    "Ankle_Boots": Kind("Boots", 0.62, 0.25, 1.0, (0.4, 0.1, 0.4, 0.1, 0.0), (0.4, 0.45, 0.1, 0.05)),
    "Mid_Calf_Boots": Kind("Boots", 1.0, 0.25, 1.0, (0.3, 0.3, 0.25, 0.15, 0.0), (0.25, 0.4, 0.2, 0.15)),
    "Knee_High_Boots": Kind("Boots", 1.5, 0.35, 1.0, (0.05, 0.2, 0.6, 0.15, 0.0), (0.0, 0.9, 0.0, 0.1)),
    "Flat_Sandals": Kind("Sandals", 0.0, 0.05, 0.0, (0.0, 0.5, 0.0, 0.35, 0.15), (0.25, 0.45, 0.1, 0.2)),
    "Heeled_Sandals": Kind("Sandals", 0.0, 0.7, 0.0, (0.0, 0.3, 0.1, 0.6, 0.0), (0.0, 0.95, 0.0, 0.05)),
    "Athletic_Sandals": Kind("Sandals", 0.0, 0.12, 0.2, (0.0, 0.1, 0.0, 0.1, 0.8), (0.4, 0.2, 0.2, 0.2)),
    "Slipper_Flats": Kind("Slippers", 0.16, 0.03, 0.6, (0.0, 0.95, 0.0, 0.0, 0.05), (0.35, 0.35, 0.15, 0.15)),
    "Slipper_Boots": Kind("Slippers", 0.6, 0.04, 1.0, (0.0, 0.8, 0.15, 0.0, 0.05), (0.15, 0.55, 0.1, 0.2)),
}
