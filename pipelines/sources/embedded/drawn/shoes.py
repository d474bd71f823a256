"""Draw a shoe from its side."""

import numpy as np

from pipelines.sources.embedded.drawn.canvas import Canvas, Colour, blended, ellipse, rgb, shaded, smooth
from pipelines.sources.embedded.drawn.shoe_styles import KINDS
from pipelines.sources.embedded.drawn.styles import Style, background, taken

_COLOURS = {
    "Men": ((46, 40, 38), (98, 64, 40), (40, 48, 70), (120, 100, 76), (90, 92, 96)),
    "Women": ((40, 34, 38), (150, 30, 50), (196, 150, 120), (120, 60, 90), (214, 200, 180), (90, 60, 46)),
    "Boys": ((40, 80, 170), (50, 120, 70), (60, 60, 66), (200, 70, 40), (130, 96, 60)),
    "Girls": ((230, 120, 170), (150, 90, 190), (240, 200, 210), (200, 60, 110), (120, 190, 200)),
}


def draw_shoe(subtype: str, closure: str, gender: str, style: Style, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a shoe.

    Args:
        subtype: of ``KINDS``.
        closure: of ``CLOSURES``.
        gender: of ``GENDERS``: proportions and, loosely, colours.
        style: how it is taken.
        size: in pixels.
        rng: decides the shoe's own shape and colour, its pose, and what the style varies.

    Returns:
        uint8 (size, size, 3).
    """
    kind, child = KINDS[subtype], gender in ("Boys", "Girls")
    palette = _COLOURS[gender] if rng.random() < 0.65 else _COLOURS[("Men", "Women", "Boys", "Girls")[rng.integers(4)]]
    colour = rgb(np.asarray(palette[rng.integers(len(palette))]) * rng.uniform(0.8, 1.25) + rng.normal(0, 10, 3))
    long = (1.0 if child else 1.15) * (1 + 0.05 * rng.normal())
    high = (1.2 if child else 1.06 if gender == "Men" else 0.92) * 1.35 * (1 + 0.08 * rng.normal())
    heel = kind.heel * (0.4 if child else 1.0) * rng.uniform(0.7, 1.1)
    shaft = kind.shaft * rng.uniform(0.85, 1.12)
    scale = 0.7 / (1 + 0.42 * max(0.0, shaft - 0.4) + 0.15 * heel) * (1 + 0.16 * style.pose * rng.uniform(-1, 1))
    shift = 0.13 * style.pose * rng.uniform(-1, 1, 2)
    down = 0.5 * max(0.0, shaft - 0.3) * scale
    canvas = Canvas(background(style, size, rng), scale, 0.16 * style.pose * rng.normal(),
                    (shift[0], shift[1] + down + 0.12), mirror=bool(rng.random() < 0.5))  # fmt: skip
    shoe = _Shoe(
        canvas, long, high, heel, colour, chunky=1.5 if child or subtype in ("Sneakers", "Athletic_Sandals") else 1.0
    )
    canvas.fill(ellipse(0, 0.5, 1.3 * long, 0.09), shaded(rgb(rng.uniform(90, 150, 3)), 0.8))
    shoe.sole(subtype, rng)
    if kind.opening < 0.3:
        shoe.straps(closure, athletic=subtype == "Athletic_Sandals")
    else:
        shoe.upper(subtype, kind.opening, shaft)
        shoe.closed(closure, kind.opening, shaft)
    if "Slipper" in subtype:
        shoe.fur(shaft, kind.opening)
    return taken(canvas.pixels(), style, rng)


class _Shoe:
    """A shoe that stands on y = 0.45, toe to the right: x from -long (heel) to long (toe)."""

    def __init__(self, canvas: Canvas, long: float, high: float, heel: float, colour: Colour, chunky: float) -> None:
        self.canvas, self.long, self.high, self.heel, self.colour = canvas, long, high, heel, colour
        self.thick = 0.075 * chunky

    def base(self, x: np.ndarray | list[float]) -> np.ndarray:
        """Return where the sole's upper side is, y at each x."""
        share = np.clip((0.35 - np.asarray(x, dtype=np.float64) / self.long) / 1.2, 0, 1)
        rise: np.ndarray = 0.45 - self.thick - self.heel * share**1.3
        return rise

    def over(self, points: list[list[float]]) -> np.ndarray:
        """Return places above the sole: x in units of the length, y up from the sole in units of the height."""
        flat = np.asarray(points, dtype=np.float64)
        return np.stack([flat[:, 0] * self.long, self.base(flat[:, 0] * self.long) - flat[:, 1] * self.high], axis=1)

    def sole(self, subtype: str, rng: np.random.Generator) -> None:
        x = np.linspace(-1, 1, 16)
        top = self.over([[v, 0.0] for v in x])
        below = top + [0, self.thick]
        sporty = subtype in ("Sneakers", "Athletic_Sandals", "Boat_Shoes")
        colour = (236, 234, 228) if sporty and rng.random() < 0.7 else shaded(self.colour, 0.45)
        if self.heel > 0.3:
            back = self.base([-self.long])[0]
            wide = 0.1 if self.heel > 0.45 else 0.26
            post = [
                [-self.long, back],
                [-self.long + 0.42, back + 0.16],
                [-self.long + 0.05 + wide, 0.45],
                [-self.long + 0.05, 0.45],
            ]
            self.canvas.fill(np.array(post), colour)
        elif self.heel > 0.02:
            block = [
                [-self.long, self.base([-self.long])[0]],
                [-0.35 * self.long, self.base([-0.35 * self.long])[0]],
                [-0.4 * self.long, 0.45],
                [-self.long, 0.45],
            ]
            self.canvas.fill(np.array(block), shaded(colour, 0.8))
        self.canvas.fill(np.concatenate([top, below[::-1]]), colour)

    def upper(self, subtype: str, opening: float, shaft: float) -> None:
        back = max(shaft, 0.2)
        if shaft > 0.45:
            flare = 0.08 * shaft
            leg = [
                [-0.98, 0],
                [-1.0, 0.3],
                [-0.95 - flare, back],
                [-0.1 + flare, back],
                [-0.06, 0.5],
                [0.3, 0.36],
                [0.75, 0.26],
                [0.99, 0.12],
                [1.0, 0],
            ]
        elif opening >= 0.8:
            leg = [
                [-0.98, 0],
                [-1.0, 0.25],
                [-0.94, back + 0.12],
                [-0.55, back * 0.85],
                [-0.2, back + 0.16],
                [0.25, 0.36],
                [0.7, 0.28],
                [0.98, 0.14],
                [1.0, 0],
            ]
        else:
            toe = 0.95 - 0.6 * opening
            leg = [
                [-0.98, 0],
                [-0.99, 0.18],
                [-0.92, back + 0.14],
                [-0.6, 0.1],
                [0.0, 0.06],
                [toe - 0.25, 0.14],
                [toe, 0.24],
                [0.96, 0.13],
                [1.0, 0],
            ]
        top = smooth(leg)
        points = self.over(top.tolist())
        floor = self.over([[v, 0.0] for v in np.linspace(1, -1, 12)])
        self.canvas.fill(np.concatenate([points, floor]), self.colour)
        if subtype in ("Oxfords", "Sneakers"):
            cap = self.over(smooth([[0.62, 0.29], [0.66, 0.12], [0.7, 0.0]]).tolist())
            self.canvas.stroke(cap, 0.04, shaded(self.colour, 0.6))
        if subtype == "Sneakers":
            swoosh = self.over(smooth([[-0.7, 0.1], [-0.3, 0.08], [0.15, 0.26]]).tolist())
            self.canvas.stroke(swoosh, 0.08, blended(self.colour, (250, 250, 250), 0.7))
        if subtype in ("Loafers", "Boat_Shoes"):
            seam = self.over(smooth([[0.2, 0.33], [0.55, 0.24], [0.85, 0.2]]).tolist())
            self.canvas.stroke(seam, 0.035, blended(self.colour, (250, 244, 230), 0.6))
        if subtype == "Loafers":
            self.canvas.stroke(self.over([[0.02, 0.36], [0.16, 0.14]]), 0.13, shaded(self.colour, 0.75))
        if subtype == "Boat_Shoes":
            rope = self.over(smooth([[-0.95, 0.2], [-0.5, 0.17], [-0.1, 0.24]]).tolist())
            self.canvas.stroke(rope, 0.045, (226, 206, 160))
        if subtype == "Clogs":
            self.canvas.dots(
                self.over([[0.3, 0.2], [0.45, 0.2], [0.6, 0.17], [0.38, 0.12]]), 0.035, shaded(self.colour, 0.5)
            )
        shine = self.over(smooth([[0.55, 0.22], [0.75, 0.18], [0.88, 0.1]]).tolist())
        self.canvas.stroke(shine, 0.04, shaded(self.colour, 1.3))

    def closed(self, closure: str, opening: float, shaft: float) -> None:
        top = min(shaft, 1.1) if shaft > 0.45 else 0.45
        dark, light = shaded(self.colour, 0.4), blended(self.colour, (250, 248, 240), 0.8)
        if closure == "Lace_up":
            for t in np.linspace(0, 1, 4 if shaft < 0.45 else 6):
                x, y = 0.28 - 0.4 * t, 0.31 + (top - 0.33) * t
                self.canvas.stroke(self.over([[x, y], [x - 0.2, y - 0.1]]), 0.05, light)
            self.canvas.stroke(self.over([[-0.08, top - 0.02], [0.08, top + 0.08]]), 0.04, light)
        elif closure == "Zipper":
            self.canvas.stroke(self.over([[-0.5, 0.06], [-0.5, max(top * 0.95, 0.4)]]), 0.05, (210, 210, 214))
            self.canvas.dots(self.over([[-0.5, max(top * 0.95, 0.4)]]), 0.06, (230, 230, 232))
        elif closure == "Buckle":
            if opening < 0.7:  # over the instep
                line = smooth([[-0.12, 0.04], [0.0, 0.3], [0.22, 0.1]])
                place = [0.0, 0.3]
            else:
                y = 0.3 if shaft < 0.45 else 0.5 * top
                line, place = np.array([[-0.85, y], [0.0, y]]), [-0.35, y]
            self.canvas.stroke(self.over(line.tolist()), 0.11, dark)
            x, y0 = self.over([place])[0]
            self.canvas.stroke(
                np.array(
                    [
                        [x - 0.1, y0 - 0.09],
                        [x + 0.1, y0 - 0.09],
                        [x + 0.1, y0 + 0.09],
                        [x - 0.1, y0 + 0.09],
                        [x - 0.1, y0 - 0.09],
                    ]
                ),
                0.045,
                (232, 200, 90),
            )
        elif closure == "Hook_and_Loop":
            for t in (0.0, 0.28):
                self.canvas.stroke(
                    self.over([[0.3 - t, 0.34 + 0.15 * t], [-0.05 - t, 0.14 + 0.15 * t]]),
                    0.14,
                    blended(self.colour, (255, 255, 255), 0.45),
                )
                self.canvas.stroke(self.over([[0.3 - t, 0.34 + 0.15 * t], [0.2 - t, 0.28 + 0.15 * t]]), 0.14, dark)

    def straps(self, closure: str, *, athletic: bool) -> None:
        """A sandal: straps over the toes and around the ankle; how it is closed is seen at the ankle."""
        wide = 0.16 if athletic else 0.1
        for x in (0.5, 0.75) if athletic else (0.6,):
            self.canvas.stroke(
                self.over(smooth([[x - 0.16, 0.0], [x - 0.02, 0.22], [x + 0.12, 0.0]]).tolist()), wide, self.colour
            )
        if closure == "Slip_on":
            self.canvas.stroke(self.over(smooth([[0.0, 0.0], [0.2, 0.3], [0.5, 0.2]]).tolist()), wide, self.colour)
            return
        self.canvas.stroke(
            self.over(smooth([[-0.95, 0.0], [-0.9, 0.3], [-0.45, 0.42], [-0.2, 0.36], [-0.15, 0.0]]).tolist()),
            wide,
            self.colour,
        )
        if closure == "Zipper":
            self.canvas.stroke(self.over([[-0.92, 0.03], [-0.9, 0.36]]), 0.05, (214, 214, 218))
        elif closure == "Buckle":
            x, y = self.over([[-0.45, 0.41]])[0]
            self.canvas.stroke(
                np.array(
                    [
                        [x - 0.09, y - 0.09],
                        [x + 0.09, y - 0.09],
                        [x + 0.09, y + 0.09],
                        [x - 0.09, y + 0.09],
                        [x - 0.09, y - 0.09],
                    ]
                ),
                0.045,
                (232, 200, 90),
            )
        else:
            self.canvas.stroke(self.over([[-0.7, 0.38], [-0.3, 0.4]]), 0.2, blended(self.colour, (255, 255, 255), 0.45))

    def fur(self, shaft: float, opening: float) -> None:
        edge = (
            [[-0.92, shaft + 0.06], [-0.5, max(shaft - 0.06, 0.08)], [-0.1, shaft + 0.02]]
            if shaft > 0.45
            else [[-0.92, 0.28], [-0.5, 0.12], [0.0, 0.08], [0.95 - 0.6 * opening, 0.24]]
        )
        self.canvas.dots(self.over(smooth(edge, steps=3).tolist()), 0.09, (240, 234, 222))
