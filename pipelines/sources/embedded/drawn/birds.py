"""Draw a bird of a species, seen from its side: on a branch, on the ground or on water."""

from collections.abc import Callable

import numpy as np

from pipelines.sources.embedded.drawn.bird_species import COLOURS, Species
from pipelines.sources.embedded.drawn.canvas import Canvas, Colour, blended, ellipse, rgb, shaded, smooth
from pipelines.sources.embedded.drawn.styles import Style, background, taken

_Place = Callable[[np.ndarray | list[list[float]]], np.ndarray]


def draw_bird(species: Species, style: Style, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a bird.

    Args:
        species: its colours, marks and shape.
        style: how it is taken.
        size: in pixels.
        rng: decides pose, the bird's own deviation from its species, and what the style varies.

    Returns:
        uint8 (size, size, 3).
    """
    build = species.build
    whole = 0.56 / (1 + 0.16 * build.neck + 0.12 * max(0.0, build.leg - 0.4) + 0.14 * max(0.0, build.tail[0] - 0.6))
    scale = whole * (1 + 0.22 * style.pose * rng.uniform(-1, 1))
    shift = 0.12 * style.pose * rng.uniform(-1, 1, 2)
    canvas = Canvas(background(style, size, rng), scale, 0.1 * style.pose * rng.normal(),
                    (shift[0], shift[1] + 0.02), mirror=bool(rng.random() < 0.5))  # fmt: skip
    own = 1 + rng.normal(0, 0.05, 3)
    paint = {letter: rgb(np.asarray(colour) * own * (1 + rng.normal(0, 0.03))) for letter, colour in COLOURS.items()}
    tilt = build.posture + 0.16 * style.pose * rng.normal()
    turned = float(np.clip(1 - 0.3 * style.pose * rng.random(), 0.6, 1))  # how far it shows its side
    along = np.array([np.cos(tilt), -np.sin(tilt)])  # from tail to breast
    across = np.array([np.sin(tilt), np.cos(tilt)])  # from back to belly
    deep = build.depth * (1 + 0.1 * rng.normal())

    def place(u: np.ndarray | list[list[float]]) -> np.ndarray:
        """From the body's own directions to the canvas."""
        flat = np.asarray(u, dtype=np.float64)
        seen: np.ndarray = (flat[:, :1] * along + flat[:, 1:] * across) * [turned, 1.0]
        return seen

    _ground(canvas, build.leg, deep, paint, species, rng)
    _tail(canvas, place, species, paint)
    body = smooth([[-1.0, -0.1], [-0.4, -0.75 * deep], [0.35, -0.92 * deep], [0.95, -0.35 * deep], [1.0, 0.3 * deep],
                   [0.45, 0.98 * deep], [-0.35, 0.8 * deep]], closed=True)  # fmt: skip
    canvas.fill(place(body), paint[species.back])
    belly = smooth(
        [
            [-0.95, 0.05],
            [-0.2, 0.25 * deep],
            [0.5, 0.1 * deep],
            [0.98, 0.0],
            [0.98, 0.35 * deep],
            [0.45, 0.98 * deep],
            [-0.35, 0.8 * deep],
        ],
        closed=True,
    )
    canvas.fill(place(belly), paint[species.belly])
    breast = smooth(
        [
            [0.3, -0.2 * deep],
            [0.85, -0.5 * deep],
            [1.02, 0.0],
            [0.95, 0.45 * deep],
            [0.5, 0.9 * deep],
            [0.25, 0.4 * deep],
        ],
        closed=True,
    )
    canvas.fill(place(breast), paint[species.breast])
    _on_the_breast(canvas, place, species, paint, deep)
    _wing(canvas, place, species, paint, deep, rng)
    _head(canvas, place(np.array([[0.82, -0.45 * deep]]))[0], along, species, paint, style, rng)
    return taken(canvas.pixels(), style, rng)


def _ground(
    canvas: Canvas, leg: float, deep: float, paint: dict[str, Colour], species: Species, rng: np.random.Generator
) -> None:
    foot = deep * 0.9 + leg
    if species.build.order == "waterfowl" and rng.random() < 0.5:
        canvas.fill(np.array([[-4, deep * 0.55], [4, deep * 0.55], [4, 5], [-4, 5]]), (84, 134, 168))
        for y in (0.8, 1.1, 1.5):
            x = rng.uniform(-2, 1)
            canvas.stroke(np.array([[x, y], [x + rng.uniform(0.5, 1.5), y]]), 0.05, (150, 190, 212))
        return
    for x in (-0.1, 0.16):
        canvas.stroke(
            np.array([[x, deep * 0.6], [x - 0.03, foot - 0.04], [x + 0.16, foot]]), 0.075, paint[species.legs]
        )
    wood = rgb(np.array([104, 80, 58]) * rng.uniform(0.7, 1.3))
    if species.build.posture > 0.9 or species.build.leg < 0.5:
        slope = rng.uniform(-0.12, 0.12)
        canvas.stroke(
            np.array([[-3.5, foot + 0.1 - 3.5 * slope], [3.5, foot + 0.1 + 3.5 * slope]]), rng.uniform(0.12, 0.26), wood
        )
    else:
        canvas.fill(
            np.array([[-5, foot], [5, foot], [5, 6], [-5, 6]]), rgb(rng.uniform([90, 110, 60], [190, 180, 130]))
        )


def _tail(canvas: Canvas, place: _Place, species: Species, paint: dict[str, Colour]) -> None:
    length, shape = species.build.tail
    length += 0.6 * ("L" in species.marks)
    end = -0.85 - length
    outline = {
        "square": [[-0.7, -0.2], [end, -0.14], [end - 0.03, 0.16], [-0.7, 0.16]],
        "notched": [[-0.7, -0.2], [end, -0.2], [end + 0.14, 0.0], [end, 0.2], [-0.7, 0.16]],
        "forked": [[-0.7, -0.18], [end, -0.26], [-1.15, 0.0], [end, 0.3], [-0.7, 0.14]],
        "pointed": [[-0.7, -0.22], [end, 0.0], [-0.7, 0.18]],
    }[shape]
    canvas.fill(place(outline), paint[species.tail])
    canvas.stroke(place([[-0.75, 0.0], [end + 0.15, 0.0]]), 0.03, shaded(paint[species.tail], 0.7))


def _on_the_breast(canvas: Canvas, place: _Place, species: Species, paint: dict[str, Colour], deep: float) -> None:
    if "O" in species.marks:
        spots = [
            [x, y * deep]
            for x, y in (
                (0.75, -0.1),
                (0.6, 0.2),
                (0.8, 0.3),
                (0.35, 0.45),
                (0.55, 0.6),
                (0.1, 0.6),
                (0.3, 0.75),
                (-0.15, 0.6),
            )
        ]
        canvas.dots(place(spots), 0.062, (58, 44, 36))
    if "S" in species.marks:
        for x, y in (
            (0.8, -0.15),
            (0.62, 0.0),
            (0.78, 0.25),
            (0.5, 0.3),
            (0.6, 0.55),
            (0.3, 0.5),
            (0.35, 0.75),
            (0.05, 0.6),
        ):
            canvas.stroke(place([[x, y * deep], [x - 0.12, y * deep + 0.13]]), 0.05, (74, 54, 42))


def _wing(
    canvas: Canvas, place: _Place, species: Species, paint: dict[str, Colour], deep: float, rng: np.random.Generator
) -> None:
    tip, low = -1.05 + 0.1 * rng.normal(), 0.25 * deep + 0.05 * rng.normal()
    outline = smooth(
        [
            [0.55, -0.5 * deep],
            [0.5, 0.1 * deep],
            [0.1, low + 0.1],
            [-0.5, low * 0.7],
            [tip, -0.02],
            [-0.55, -0.55 * deep],
            [0.1, -0.72 * deep],
        ],
        closed=True,
    )
    colour = paint[species.wing]
    canvas.fill(place(outline), colour)
    seen = place(outline)
    canvas.stroke(np.concatenate([seen, seen[:1]]), 0.035, shaded(colour, 0.68))
    for k in (0.0, 0.16, 0.32):
        canvas.stroke(
            place([[0.1 - k, low * 0.9 - 0.3 * k], [tip + 0.12 + 0.2 * k, -0.08 - 0.3 * k]]),
            0.028,
            shaded(colour, 0.74),
        )
    if "W" in species.marks:
        pale = paint["w"] if species.wing not in "w" else paint["n"]
        canvas.stroke(place([[0.34, -0.45 * deep], [0.16, low]]), 0.1, pale)
    if "P" in species.marks:
        patch = {"jay": "u", "mallard": "u", "teal": "n", "goldfinch": "y", "scarlet_macaw": "y"}.get(species.name, "u")
        canvas.fill(
            place([[-0.05, -0.15 * deep], [-0.1, low * 0.9], [-0.5, low * 0.6], [-0.45, -0.2 * deep]]), paint[patch]
        )


def _head(canvas: Canvas, shoulder: np.ndarray, along: np.ndarray, species: Species, paint: dict[str, Colour],
          style: Style, rng: np.random.Generator) -> None:  # fmt: skip
    build, r = species.build, species.build.head
    lean = rng.uniform(-0.15, 0.3) * (1 + style.pose * 0.5)
    reach = 0.55 * r + build.neck
    middle = shoulder + reach * np.array([np.sin(lean + 0.12), -np.cos(lean + 0.12)])
    face, crown = paint[species.face], paint[species.crown]
    if build.neck > 0.1:
        bend = 0.18 * build.neck
        line = smooth(np.stack([shoulder + [0.02, 0.2], (shoulder + middle) / 2 + [bend, 0.0], middle]))
        canvas.stroke(line, 0.42 if build.neck < 0.5 else 0.26, face if build.neck > 0.5 else paint[species.breast])
        if build.neck <= 0.5:
            canvas.stroke(line[len(line) // 2 :], 0.4, face)
    if "R" in species.marks:
        neck = middle + (shoulder - middle) * (r / max(reach, 0.3) * 0.9)
        canvas.stroke(
            np.stack([neck - [0.24, 0.02], neck + [0.26, 0.08]]),
            0.1,
            paint["w"] if species.face in "kn" and species.family != "parrots" else paint["k"],
        )
    _beak(canvas, middle, r, species, paint)
    if "C" in species.marks:
        for k in (0.0, 0.14, 0.28):
            canvas.fill(
                middle + np.array([[-0.2 * r, -0.8 * r], [-1.25 * r - k, -1.5 * r + 1.2 * k], [-0.8 * r, -0.3 * r]]),
                crown,
            )
    canvas.fill(ellipse(middle[0], middle[1], r, r * 0.94), face)
    angle = np.linspace(np.pi * 0.93, np.pi * 1.93, 14)
    cap = np.stack([middle[0] + 1.01 * r * np.cos(angle), middle[1] + 0.96 * r * np.sin(angle)], axis=1)
    canvas.fill(np.concatenate([cap, middle + [[0.4 * r, -0.22 * r]]]), crown)
    if "K" in species.marks:
        canvas.fill(ellipse(middle[0] - 0.2 * r, middle[1] + 0.25 * r, 0.52 * r, 0.36 * r), paint["w"])
    if "B" in species.marks:
        canvas.fill(
            middle + np.array([[0.75 * r, 0.25 * r], [0.05 * r, 0.55 * r], [0.1 * r, 1.2 * r], [0.6 * r, 1.15 * r]]),
            paint["k"],
        )
    if build.order == "night hunters":  # a face to the front
        for x in (-0.42, 0.42):
            canvas.fill(ellipse(middle[0] + x * r, middle[1], 0.44 * r, 0.5 * r), blended(face, (250, 246, 236), 0.55))
            canvas.dots(
                middle[None] + [[x * r, -0.02]],
                0.19 * r,
                (226, 170, 40) if species.name != "barn_owl" else (30, 24, 24),
            )
            canvas.dots(middle[None] + [[x * r, -0.02]], 0.11 * r, (18, 16, 18))
        canvas.fill(middle + np.array([[-0.1 * r, 0.05 * r], [0.1 * r, 0.05 * r], [0, 0.4 * r]]), paint[species.beak])
        return
    eye = middle + [0.35 * r, -0.15 * r]
    if "I" in species.marks:
        stripe = paint["k"] if species.face != "k" else paint["w"]
        canvas.stroke(np.stack([middle + [0.95 * r, -0.02], eye, middle + [-0.85 * r, -0.12 * r]]), 0.09, stripe)
    if "E" in species.marks:
        canvas.dots(eye[None], 0.3 * r, paint["y"] if species.face in "kbdu" else paint["r"])
    canvas.dots(eye[None], 0.19 * r, (14, 12, 14))
    canvas.dots(eye[None] + [[0.05 * r, -0.06 * r]], 0.06 * r, (250, 250, 250))


def _beak(canvas: Canvas, middle: np.ndarray, r: float, species: Species, paint: dict[str, Colour]) -> None:
    kind, length = species.build.beak
    if species.build.order == "night hunters":
        return
    x, colour = 0.8 * r, paint[species.beak]
    end = x + 0.12 + length
    outline = {
        "short": [[x, -0.12 * r], [end, 0.02], [x, 0.2 * r]],
        "fine": [[x, -0.18 * r], [end, 0.04], [x, 0.22 * r]],
        "cone": [[x - 0.06, -0.42 * r], [end, 0.05], [x - 0.06, 0.5 * r]],
        "strong": [[x, -0.3 * r], [end - 0.08, -0.04], [end, 0.1], [x, 0.32 * r]],
        "flat": [[x - 0.03, -0.2 * r], [end - 0.1, 0.0], [end, 0.1], [end - 0.04, 0.17], [x - 0.03, 0.42 * r]],
        "hooked": [[x - 0.08, -0.32 * r], [end, -0.02], [end - 0.01, 0.22], [end - 0.12, 0.1], [x - 0.08, 0.28 * r]],
        "parrot": [[x - 0.12, -0.5 * r], [end, -0.05], [end - 0.04, 0.34], [end - 0.16, 0.16], [x - 0.1, 0.42 * r]],
    }[kind]
    canvas.fill(middle + np.array(outline), colour)
    canvas.stroke(middle + np.array([[x, 0.04], [end - 0.05, 0.07]]), 0.025, shaded(colour, 0.55))
