"""Fifty species of birds, simplified from their field marks; what can be seen of each, its family and its order."""

from collections.abc import Callable
from dataclasses import dataclass

COLOURS = {
    "k": (34, 34, 40), "d": (88, 88, 94), "g": (152, 156, 164), "w": (242, 242, 238), "b": (116, 82, 54),
    "l": (190, 156, 112), "c": (236, 220, 184), "r": (192, 40, 38), "o": (232, 128, 48), "y": (240, 206, 64),
    "n": (86, 136, 66), "u": (54, 96, 176), "t": (42, 156, 176), "p": (226, 142, 146), "v": (110, 80, 140),
    "h": (168, 88, 46),
}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """The shape of a family, in units of half a body's length.

    Attributes:
        order: the order that the family belongs to.
        depth: of the body.
        head: its radius.
        neck: how far the head stands from the body.
        posture: the body's angle above the ground, in radians.
        beak: how it is shaped, and how long.
        tail: its length, and its shape.
        leg: its length.
    """

    order: str
    depth: float
    head: float
    neck: float
    posture: float
    beak: tuple[str, float]
    tail: tuple[float, str]
    leg: float


FAMILIES = {
    "crows": Build("songbirds", 0.50, 0.34, 0.05, 0.35, ("strong", 0.36), (0.75, "square"), 0.4),
    "tits": Build("songbirds", 0.62, 0.40, 0.0, 0.4, ("short", 0.16), (0.55, "square"), 0.34),
    "finches": Build("songbirds", 0.58, 0.36, 0.0, 0.5, ("cone", 0.22), (0.62, "notched"), 0.32),
    "thrushes": Build("songbirds", 0.54, 0.33, 0.05, 0.6, ("fine", 0.26), (0.6, "square"), 0.46),
    "swallows": Build("songbirds", 0.42, 0.30, 0.0, 0.25, ("short", 0.12), (0.95, "forked"), 0.16),
    "ducks": Build("waterfowl", 0.50, 0.32, 0.22, 0.1, ("flat", 0.38), (0.3, "pointed"), 0.2),
    "geese": Build("waterfowl", 0.52, 0.27, 0.75, 0.15, ("flat", 0.32), (0.28, "pointed"), 0.34),
    "gulls": Build("shorebirds", 0.42, 0.31, 0.12, 0.15, ("strong", 0.36), (0.45, "square"), 0.4),
    "waders": Build("shorebirds", 0.46, 0.27, 0.2, 0.2, ("fine", 0.62), (0.35, "square"), 0.72),
    "hawks": Build("raptors", 0.50, 0.33, 0.02, 0.95, ("hooked", 0.2), (0.75, "square"), 0.4),
    "owls": Build("night hunters", 0.62, 0.52, -0.05, 1.15, ("hooked", 0.16), (0.4, "square"), 0.28),
    "woodpeckers": Build("climbers", 0.46, 0.34, 0.05, 1.1, ("fine", 0.44), (0.6, "pointed"), 0.24),
    "parrots": Build("parrots", 0.46, 0.38, 0.0, 0.9, ("parrot", 0.26), (1.15, "pointed"), 0.24),
    "pigeons": Build("pigeons", 0.54, 0.27, 0.12, 0.35, ("fine", 0.18), (0.65, "square"), 0.28),
    "herons": Build("long-legged", 0.44, 0.26, 0.95, 0.35, ("fine", 0.72), (0.3, "square"), 1.0),
    "kingfishers": Build("kingfishers", 0.54, 0.42, 0.0, 0.6, ("fine", 0.6), (0.3, "square"), 0.18),
}


@dataclass(frozen=True)
class Species:
    """A species: the colours of its parts, by letter, and its marks.

    Marks: C crest, E eye ring, I stripe through the eye, B black bib, R collar, W bar on the wing, S streaked breast,
    O spotted breast, P bright patch on the wing, K pale cheek, L long tail.
    """

    name: str
    family: str
    crown: str
    face: str
    back: str
    wing: str
    breast: str
    belly: str
    tail: str
    beak: str
    legs: str
    marks: frozenset[str]

    @property
    def build(self) -> Build:
        """The shape of its family."""
        return FAMILIES[self.family]


# Family: species, the letters of crown, face, back, wing, breast, belly, tail, beak, legs, then its marks.
_TABLE = """
crows: carrion_crow kkkkkkkkk; hooded_crow kkgkggkkk; magpie kkkkkwkkk WL; jay bllbbcklb PI; jackdaw kgkdddkkk E
tits: great_tit kknuyyukg KBW; blue_tit uwnuyyukg IW; coal_tit kkggclgkg KBW; crested_tit ggbbclbkg CBI
finches: chaffinch upbkppkgl W; goldfinch krbklwkcp PK; greenfinch nnnnnygpp; bullfinch krgkrrkkk W; siskin kynkywkgk S
thrushes: blackbird kkkkkkkyk E; song_thrush bbbbccbkp O; robin bobboobkb; fieldfare ggbbowkyk S; nightingale bbbblcrkb
swallows: barn_swallow uruuwcukk L; house_martin uuuuwwukp
ducks: mallard nnbgbgkyo RP; teal brggcgkdg SP; tufted_duck kkkkkwkgd CE; shelduck nnwwowkrp W; pintail bbggwgkgd LR
geese: mute_swan wwwwwwwok I; canada_goose kkbbclkkk KR
gulls: herring_gull wwggwwwyp E; black_headed_gull bbggwwwrr; great_black_backed_gull wwkkwwwyp W
waders: oystercatcher kkkkkwkrp W; lapwing kwnnkwwkr CR
hawks: kestrel gghhccgyy S; buzzard bbbbllbyy; sparrowhawk doddwwdyy S
owls: barn_owl lwllwwlcc; tawny_owl bbbbllbyc S; snowy_owl wwwwwwwkw O
woodpeckers: great_spotted_woodpecker kwkkwrkkg WK; green_woodpecker rknnyyngg I
parrots: scarlet_macaw rruurrrcd PL; ring_necked_parakeet nnnnnynrg RL; cockatoo ywwwwwwdd C
pigeons: wood_pigeon ggggpgdyr RW; collared_dove ccllccgkr R; rock_dove dvdgvgdkr W
herons: grey_heron wwggwwgyl CSI; little_egret wwwwwwwkk C
kingfishers: kingfisher uotuooukr K
"""


def _species() -> dict[str, Species]:
    found = {}
    for line in _TABLE.strip().splitlines():
        family, _, members = line.partition(": ")
        for member in members.split("; "):
            name, *rest = member.split(" ")
            letters = list("".join(word for word in rest if word.islower()))
            marks = "".join(word for word in rest if word.isupper())
            crown, face, back, wing, breast, belly, tail, beak, legs = letters
            found[name] = Species(
                name, family, crown, face, back, wing, breast, belly, tail, beak, legs, frozenset(marks)
            )
    return found


SPECIES = _species()

# What can be seen of a bird, beside its species: each a property of the species, so a table of zeros and ones.
_BUILT: dict[str, Callable[[Species], bool]] = {
    "crest": lambda s: "C" in s.marks,
    "eye_ring": lambda s: "E" in s.marks,
    "eye_stripe": lambda s: "I" in s.marks,
    "bib": lambda s: "B" in s.marks,
    "collar": lambda s: "R" in s.marks,
    "wing_bar": lambda s: "W" in s.marks,
    "wing_patch": lambda s: "P" in s.marks,
    "streaked_breast": lambda s: "S" in s.marks,
    "spotted_breast": lambda s: "O" in s.marks,
    "pale_cheek": lambda s: "K" in s.marks,
    "long_tail": lambda s: "L" in s.marks or s.build.tail[0] > 0.9,
    "forked_tail": lambda s: s.build.tail[1] == "forked",
    "upright": lambda s: s.build.posture > 0.8,
    "long_neck": lambda s: s.build.neck > 0.5,
    "long_legs": lambda s: s.build.leg > 0.6,
    "hooked_beak": lambda s: s.build.beak[0] in ("hooked", "parrot"),
    "flat_beak": lambda s: s.build.beak[0] == "flat",
    "long_beak": lambda s: s.build.beak[1] > 0.5,
    "black_crown": lambda s: s.crown == "k",
    "black_back": lambda s: s.back == "k",
    "brown_back": lambda s: s.back == "b",
    "gray_back": lambda s: s.back in "gd",
    "green_back": lambda s: s.back == "n",
    "white_belly": lambda s: s.belly == "w",
    "yellow_breast": lambda s: s.breast == "y",
    "orange_breast": lambda s: s.breast in "op",
    "blue_wing": lambda s: s.wing in "ut",
    "red_beak": lambda s: s.beak in "ro",
    "yellow_beak": lambda s: s.beak == "y",
    "red_legs": lambda s: s.legs in "rop",
}
TRAITS = tuple(_BUILT)


def traits_of(species: Species) -> tuple[str, ...]:
    """Return the traits that a species has, in the order of ``TRAITS``."""
    return tuple(name for name, holds in _BUILT.items() if holds(species))
