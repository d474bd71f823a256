"""Draw a face: a person, action units with their intensities, a pose, and what the person wears."""

from collections.abc import Mapping

import numpy as np

from pipelines.sources.embedded.drawn.canvas import Canvas, Colour, blended, ellipse, rgb, shaded, smooth
from pipelines.sources.embedded.drawn.people import Person
from pipelines.sources.embedded.drawn.styles import Style, background, taken

_INSIDE_MOUTH, _TEETH, _WHITE = (70, 22, 26), (238, 234, 224), (244, 244, 240)


class _Head:
    """Places on a turned head: x to the picture's right, y down, both in units of half a face's height."""

    def __init__(self, canvas: Canvas, who: Person, yaw: float, pitch: float) -> None:
        self.canvas, self.who = canvas, who
        self._cos, self._sin = np.cos([yaw, pitch]), np.sin([yaw, pitch])

    def at(self, points: np.ndarray | list[list[float]], ahead: float = 0.0) -> np.ndarray:
        """Return where points (n, 2) of the face are seen, ``ahead`` of its surface."""
        flat = np.asarray(points, dtype=np.float64)
        x, y = flat[:, 0], flat[:, 1]
        z = 0.75 * np.sqrt(np.maximum(1 - (x / (1.15 * self.who.width)) ** 2 - (y / 1.3) ** 2, 0)) + ahead
        return flat * self._cos + z[:, None] * self._sin


def draw_face(
    who: Person, units: Mapping[int, float], wears: frozenset[str], style: Style, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw a face.

    Args:
        who: the person.
        units: intensities from 0 to 1 by the number of the action unit; what is left out is 0.
        wears: attributes of the picture, ``Eyeglasses`` and the like.
        style: how it is taken.
        size: in pixels.
        rng: decides the pose, the background and what the style varies.

    Returns:
        uint8 (size, size, 3).
    """
    au = {unit: units.get(unit, 0.0) for unit in range(1, 27)}
    turn, shift = 0.13 * style.pose * rng.normal(), 0.07 * style.pose * rng.uniform(-1, 1, 2)
    scale = 0.8 * (1 + 0.12 * style.pose * rng.uniform(-1, 1))
    canvas = Canvas(background(style, size, rng), scale, turn, (shift[0], shift[1] + 0.03))
    yaw, pitch = 0.34 * style.pose * rng.normal(), 0.16 * style.pose * rng.normal()
    head = _Head(canvas, who, float(np.clip(yaw, -0.6, 0.6)), float(np.clip(pitch, -0.35, 0.35)))
    shirt = rng.uniform(30, 225, 3)
    _behind(head, shirt, wears)
    _skull(head, au)
    _skin(head, au)
    for side in (-1, 1):
        _eye(head, au, side)
        _brow(head, au, side)
    _nose(head, au)
    _mouth(head, au)
    _hair(head)
    _worn(head, wears, rng)
    return taken(canvas.pixels(), style, rng)


def _behind(head: _Head, shirt: np.ndarray, wears: frozenset[str]) -> None:
    who, canvas, has = head.who, head.canvas, head.who.has
    drop = 0.4 * head._sin[0]
    if "Long_Hair" in has:
        wave = 0.07 if "Wavy_Hair" in has else 0.0
        side = [[who.width + 0.2 + wave * (i % 2), y] for i, y in enumerate(np.linspace(-0.55, 1.25, 8))]
        outline = [[-x, y] for x, y in side[::-1]] + [[-0.6, -1.05], [0, -1.22], [0.6, -1.05]] + side
        canvas.fill(smooth(np.array(outline) + [-0.3 * drop, 0]), shaded(who.hair, 0.75))
    canvas.fill(smooth([[-1.6, 2.6], [-1.35, 1.6], [-0.55, 1.32], [0.55, 1.32], [1.35, 1.6], [1.6, 2.6]]),
                shaded(shirt, 1.0))  # fmt: skip
    neck = 0.42 + 0.08 * ("Male" in has)
    canvas.fill(smooth([[-neck, 0.5], [-neck, 1.3], [0, 1.62], [neck, 1.3], [neck, 0.5]]), shaded(who.skin, 0.8))
    if "Wearing_Necklace" in wears:
        canvas.stroke(smooth([[-neck, 1.2], [-0.25, 1.46], [0, 1.52], [0.25, 1.46], [neck, 1.2]]), 0.06, (232, 196, 70))
    if "Wearing_Necktie" in wears:
        canvas.fill(np.array([[-0.14, 1.42], [0.14, 1.42], [0.24, 2.4], [-0.24, 2.4]]), (150, 24, 40))
        canvas.fill(np.array([[-0.5, 1.25], [-0.12, 1.42], [-0.3, 1.75]]), (245, 245, 245))
        canvas.fill(np.array([[0.5, 1.25], [0.12, 1.42], [0.3, 1.75]]), (245, 245, 245))
    for sign in (-1, 1):
        ear = np.array([sign * who.width * 0.99 * head._cos[0] - 0.12 * head._sin[0], 0.02])
        canvas.fill(ellipse(ear[0], ear[1], 0.12, 0.22), shaded(who.skin, 0.86))
        if "Wearing_Earrings" in wears:
            canvas.dots(ear[None] + [0, 0.28], 0.075, (240, 208, 84))


def _skull(head: _Head, au: Mapping[int, float]) -> None:
    who = head.who
    chin = 1.0 + 0.13 * au[26] - 0.03 * au[17]
    right = [[0.55, -0.93], [0.88, -0.62], [1.0, -0.15], [0.97, 0.2]]
    outline = [[0.0, -1.04], *([x * who.width, y] for x, y in right)]
    outline += [[who.jaw * 0.98, 0.52], [who.jaw * 0.74, 0.8 * chin], [0.3, 0.97 * chin]]
    mirrored = [[-x, y] for x, y in outline[:0:-1]]
    shape = np.array([*outline, [0.0, chin], *mirrored])
    shape[:, 0] += 0.12 * head._sin[0] * (1 + 0.5 * shape[:, 1])
    shape[:, 1] += 0.1 * head._sin[1]
    head.canvas.fill(smooth(shape, closed=True), who.skin)
    far = np.sign(head._sin[0]) or 1.0  # the cheek that is turned away lies in its own shadow
    side = shape.copy()
    side[:, 0] = np.where(side[:, 0] * far > 0, side[:, 0], side[:, 0] * 0.4 - far * 0.35 * who.width)
    head.canvas.fill(smooth(side, closed=True), shaded(who.skin, 0.94))


def _skin(head: _Head, au: Mapping[int, float]) -> None:
    """Beard, cheeks, furrows: what lies on the skin."""
    who, canvas, has = head.who, head.canvas, head.who.has
    dark = shaded(who.skin, 0.72)
    for side in (-1, 1):
        if "Rosy_Cheeks" in has:
            canvas.fill(head.at(ellipse(side * 0.45, 0.28, 0.17, 0.12)), blended(who.skin, (226, 84, 92), 0.42))
        if "High_Cheekbones" in has:
            canvas.stroke(
                head.at([[side * 0.62, 0.26], [side * 0.42, 0.42], [side * 0.36, 0.58]]), 0.05, shaded(who.skin, 0.84)
            )
        if "Freckles" in has:
            spots = [
                [side * x, y]
                for x, y in ((0.22, 0.2), (0.34, 0.16), (0.3, 0.3), (0.45, 0.24), (0.4, 0.36), (0.16, 0.32))
            ]
            canvas.dots(head.at(spots), 0.024, blended(who.skin, (130, 66, 30), 0.65))
        if "Bags_Under_Eyes" in has:
            x = side * who.eye_apart
            canvas.stroke(
                head.at(smooth([[x - 0.13, 0.09], [x, 0.15], [x + 0.13, 0.09]])), 0.045, shaded(who.skin, 0.76)
            )
        if "Sideburns" in has:
            canvas.fill(
                head.at(
                    [
                        [side * who.width * 0.97, -0.3],
                        [side * who.width * 0.82, -0.3],
                        [side * who.jaw * 0.86, 0.42],
                        [side * who.jaw * 0.99, 0.42],
                    ]
                ),
                who.hair,
            )
        fold = max(0.75 * au[10], au[11], 0.55 * au[12], 0.6 * au[9])
        if fold > 0.05:
            x = who.mouth_width + 0.05 + 0.06 * au[12]
            line = smooth(
                [
                    [side * (who.nose_width + 0.03), 0.36 - 0.05 * au[9]],
                    [side * (x - 0.03), 0.46],
                    [side * (x + 0.02), 0.62 - 0.06 * au[12]],
                ]
            )
            canvas.stroke(head.at(line), 0.03 + 0.035 * fold, blended(who.skin, dark, 0.35 + 0.65 * fold))
        if au[6] > 0.05:  # cheeks up: a fold below the eye, and crow's feet beside it
            x = side * who.eye_apart
            canvas.stroke(
                head.at(smooth([[x - side * 0.14, 0.13], [x + side * 0.06, 0.16], [x + side * 0.22, 0.06]])),
                0.03 + 0.03 * au[6],
                blended(who.skin, dark, 0.3 + 0.7 * au[6]),
            )
            for y in (-0.1, 0.0):
                canvas.stroke(
                    head.at([[x + side * 0.19, -0.03 + 0.4 * y], [x + side * (0.24 + 0.07 * au[6]), -0.05 + 1.3 * y]]),
                    0.025,
                    blended(who.skin, dark, au[6]),
                )
    if au[1] > 0.2:
        for y in (-0.52, -0.62):
            canvas.stroke(
                head.at(smooth([[-0.3, y], [0, y - 0.02], [0.3, y]])), 0.03, blended(who.skin, dark, 0.8 * au[1])
            )
    if au[4] > 0.05:
        for side in (-1, 1):
            canvas.stroke(head.at([[side * 0.06, -0.34], [side * 0.05, -0.16]]), 0.035, blended(who.skin, dark, au[4]))
    if au[9] > 0.05:
        for y in (-0.08, 0.0, 0.08):
            canvas.stroke(head.at([[-0.1, y], [0, y - 0.03], [0.1, y]], 0.1), 0.03, blended(who.skin, dark, au[9]))
    if "Goatee" in has:
        canvas.fill(
            head.at(
                smooth([[-0.24, 0.72], [-0.22, 0.92], [0, 1.02], [0.22, 0.92], [0.24, 0.72], [0, 0.78]], closed=True)
            ),
            shaded(who.hair, 0.95),
        )
    if au[17] > 0.05:
        canvas.dots(head.at([[-0.06, 0.86], [0.06, 0.86], [0, 0.9]]), 0.018, blended(who.skin, dark, 0.7 * au[17]))
        canvas.stroke(head.at(smooth([[-0.17, 0.8], [0, 0.765], [0.17, 0.8]])), 0.035, blended(who.skin, dark, au[17]))


def _eye(head: _Head, au: Mapping[int, float], side: int) -> None:
    who, canvas, x = head.who, head.canvas, side * head.who.eye_apart
    upper = who.eye_size * (1 + 0.75 * au[5] - 0.5 * au[7] - 0.25 * au[4] - 0.1 * au[6])
    lower = who.eye_size * (0.75 - 0.5 * au[7] - 0.5 * au[6] - 0.25 * au[9])
    upper, lower = max(upper, 0.015), max(lower, 0.01)
    lids = smooth([[x - 0.17, 0.0], [x - 0.08, -0.85 * upper], [x, -upper], [x + 0.08, -0.85 * upper], [x + 0.17, 0.0],
                   [x + 0.08, 0.85 * lower], [x, lower], [x - 0.08, 0.85 * lower]], closed=True)  # fmt: skip
    outline = head.at(lids)
    canvas.fill(outline, _WHITE)
    iris = ellipse(x, -0.012, 0.088, 0.088, n=20)
    iris[:, 1] = np.clip(iris[:, 1], -upper * 0.97, lower * 0.97)
    canvas.fill(head.at(iris), who.eye)
    pupil = ellipse(x, -0.012, 0.045, 0.045, n=14)
    pupil[:, 1] = np.clip(pupil[:, 1], -upper * 0.9, lower * 0.9)
    canvas.fill(head.at(pupil), (16, 14, 16))
    made_up = "Heavy_Makeup" in who.has
    if made_up:
        lid = np.concatenate([lids[:25], lids[:25][::-1] - [0, 0.09]])
        canvas.fill(head.at(lid), blended(who.skin, (96, 70, 140), 0.65))
    canvas.stroke(outline[:25], 0.055 if made_up else 0.035, (40, 26, 26))
    canvas.stroke(outline[24:], 0.022, shaded(who.skin, 0.6))
    if au[7] > 0.05:
        line = smooth([[x - 0.16, lower + 0.05], [x, lower + 0.065], [x + 0.16, lower + 0.05]])
        canvas.stroke(head.at(line), 0.03, blended(who.skin, shaded(who.skin, 0.66), au[7]))


def _brow(head: _Head, au: Mapping[int, float], side: int) -> None:
    who = head.who
    inner = -0.23 - 0.16 * au[1] + 0.13 * au[4] + 0.04 * au[9]
    middle = -0.26 - who.arch - 0.1 * au[1] - 0.1 * au[2] + 0.09 * au[4]
    outer = -0.2 - 0.17 * au[2] + 0.05 * au[4]
    x = who.eye_apart - 0.33
    line = smooth([[side * (0.14 + x - 0.05 * au[4]), inner], [side * (0.33 + x), middle], [side * (0.53 + x), outer]])
    colour = blended(who.hair, (40, 30, 26), 0.35)
    head.canvas.stroke(head.at(line), who.brow, colour)
    head.canvas.stroke(head.at(line[: len(line) // 2]), who.brow * 1.25, colour)


def _nose(head: _Head, au: Mapping[int, float]) -> None:
    who, canvas = head.who, head.canvas
    tip, wide = who.nose_length - 0.06 * au[9], who.nose_width * (1 + 0.18 * au[9])
    pointy = "Pointy_Nose" in who.has
    side = -1.0 if head._sin[0] > 0 else 1.0
    ridge = np.concatenate([head.at([[side * 0.05, -0.1]], 0.05), head.at([[side * 0.06, tip * 0.5]], 0.14),
                            head.at([[side * wide * 0.7, tip - 0.02]], 0.2)])  # fmt: skip
    canvas.stroke(ridge, 0.04, shaded(who.skin, 0.82))
    ball = head.at(ellipse(0, tip - 0.03, wide * 0.72, 0.075 if pointy else 0.1), 0.24)
    canvas.fill(ball, shaded(who.skin, 0.93))
    point = tip + 0.02 + 0.06 * pointy
    half = [[0.55 * wide, tip + 0.045], [wide, tip - 0.02]]
    under = [*([-x, y] for x, y in half[::-1]), [0.0, point], *half]
    canvas.stroke(head.at(smooth(under), 0.17), 0.045, shaded(who.skin, 0.62))
    canvas.dots(head.at([[-wide * 0.45, tip + 0.01], [wide * 0.45, tip + 0.01]], 0.17), 0.026, shaded(who.skin, 0.42))


def _mouth(head: _Head, au: Mapping[int, float]) -> None:
    who, canvas = head.who, head.canvas
    width = who.mouth_width * (1 + 0.26 * au[12] + 0.42 * au[20] - 0.16 * au[23] - 0.14 * au[24] - 0.08 * au[17])
    middle = 0.62 - 0.05 * au[17]
    corner = middle - 0.15 * au[12] + 0.14 * au[15] + 0.02 * au[20] + 0.04 * au[26]
    opening = 0.03 * (au[25] > 0) + 0.07 * au[25] + 0.2 * au[26]
    opening *= 1 - 0.9 * max(au[24], 0.5 * au[23])
    thin = 1 - 0.6 * au[23] - 0.75 * au[24] - 0.25 * au[20] - 0.15 * au[12]
    top = middle - 0.07 * au[10] - 0.3 * opening - 0.04 * au[9]
    bottom = middle + 0.7 * opening - 0.05 * au[17]
    upper, lower = who.lips * max(thin, 0.12), 1.25 * who.lips * max(thin, 0.12) + 0.015 * au[17]
    lipstick = "Wearing_Lipstick" in who.has
    colour = blended(who.skin, (190, 20, 50) if lipstick else (176, 74, 74), 0.85 if lipstick else 0.5)
    edge_up = [
        [-width, corner],
        [-width * 0.5, (top + corner) / 2 - 0.02],
        [0, top],
        [width * 0.5, (top + corner) / 2 - 0.02],
        [width, corner],
    ]
    edge_low = [
        [width, corner],
        [width * 0.5, (bottom + corner) / 2 + 0.03],
        [0, bottom],
        [-width * 0.5, (bottom + corner) / 2 + 0.03],
        [-width, corner],
    ]
    up, low = smooth(edge_up), smooth(edge_low)
    side_of_bow = [[0.06, top - upper * 1.1], [width * 0.45, (top + corner) / 2 - 0.02 - upper], [width, corner]]
    bow = [*([-x, y] for x, y in side_of_bow[::-1]), [0.0, top - upper * 0.8], *side_of_bow]
    belly = np.array(
        [
            [width, corner],
            [width * 0.5, (bottom + corner) / 2 + 0.03 + lower],
            [0, bottom + lower],
            [-width * 0.5, (bottom + corner) / 2 + 0.03 + lower],
            [-width, corner],
        ]
    )
    canvas.fill(head.at(np.concatenate([smooth(bow), up[::-1]]), 0.05), shaded(colour, 0.9))
    canvas.fill(head.at(np.concatenate([smooth(belly), low[::-1]]), 0.05), colour)
    if opening > 0.035:
        canvas.fill(head.at(np.concatenate([up, low]), 0.03), _INSIDE_MOUTH)
        teeth = up + [0, 0.35 * min(opening, 0.14)]
        canvas.fill(head.at(np.concatenate([up[4:-4], teeth[4:-4][::-1]]), 0.04), _TEETH)
    else:
        canvas.stroke(head.at(up, 0.05), 0.03 + 0.035 * au[24], shaded(colour, 0.5))
    for side in (-1, 1):
        if au[15] > 0.05:
            canvas.stroke(
                head.at([[side * width, corner], [side * (width + 0.05), corner + 0.09 * au[15]]]),
                0.035,
                shaded(who.skin, 0.62),
            )
        if au[12] > 0.2:
            canvas.dots(head.at([[side * (width + 0.04), corner - 0.01]]), 0.03, shaded(who.skin, 0.66))
    if "Mustache" in who.has:
        hairs = [
            [-0.3, 0.56 - 0.05 * au[12]],
            [-0.15, 0.475],
            [0, 0.5],
            [0.15, 0.475],
            [0.3, 0.56 - 0.05 * au[12]],
            [0.12, 0.56],
            [0, 0.55],
            [-0.12, 0.56],
        ]
        canvas.fill(
            head.at(smooth(hairs, closed=True) + [0, min(0.0, top - upper - 0.56)], 0.08), shaded(who.hair, 0.95)
        )


def _hair(head: _Head) -> None:
    who, canvas, has = head.who, head.canvas, head.who.has
    if "Bald" in has:
        for side in (-1, 1):
            strip = [
                [side * who.width * 1.02, -0.5],
                [side * who.width * 0.9, -0.45],
                [side * who.width * 0.94, -0.05],
                [side * who.width * 1.05, -0.1],
            ]
            canvas.fill(np.array(strip) + [0.1 * head._sin[0], 0], who.hair)
        return
    line = -0.74 if "Receding_Hairline" in has else -0.36 if "Bangs" in has else -0.58
    corner = -0.9 if "Receding_Hairline" in has else line
    front = [[who.width * 1.0, -0.08], [who.width * 0.88, -0.3], [0.5 * who.width, corner + 0.02], [0.12, line],
             [-0.5 * who.width, corner - 0.03], [-who.width * 0.88, -0.3], [-who.width * 1.0, -0.08]]  # fmt: skip
    seen = head.at(smooth(front))
    if "Wavy_Hair" in has:
        seen[:, 1] += 0.05 * np.sin(np.arange(len(seen)) * 1.3)
    angle = np.linspace(np.pi * 1.03, np.pi * 1.97, 24)
    bump = 0.05 * np.sin(np.arange(24) * 1.7) if "Wavy_Hair" in has else 0.0
    crown = np.stack([(who.width + 0.12 + bump) * np.cos(angle), -0.05 + (1.08 + bump) * np.sin(angle)], axis=1)
    crown[:, 0] += 0.06 * head._sin[0]
    canvas.fill(np.concatenate([crown, seen]), who.hair)
    shine = np.stack([0.55 * who.width * np.cos(angle[4:12]), -0.2 + 0.72 * np.sin(angle[4:12])], axis=1)
    canvas.stroke(shine, 0.05, shaded(who.hair, 1.25))
    if "Bangs" in has:
        for x in (-0.4, -0.15, 0.1, 0.35):
            canvas.stroke(head.at([[x, -0.62], [x + 0.06, line + 0.06]]), 0.05, shaded(who.hair, 0.8))


def _worn(head: _Head, wears: frozenset[str], rng: np.random.Generator) -> None:
    who, canvas = head.who, head.canvas
    if "Eyeglasses" in wears:
        frame: Colour = (30, 30, 34)
        for side in (-1, 1):
            ring = head.at(ellipse(side * who.eye_apart, 0.02, 0.23, 0.19), 0.08)
            canvas.stroke(np.concatenate([ring, ring[:1]]), 0.05, frame)
            canvas.stroke(
                head.at([[side * (who.eye_apart + 0.22), 0.0], [side * who.width, -0.05]], 0.03), 0.045, frame
            )
        canvas.stroke(head.at([[-0.11, 0.0], [0.11, 0.0]], 0.1), 0.045, frame)
    if "Wearing_Hat" in wears:
        colour = rgb(rng.uniform(20, 220, 3))
        shift = 0.08 * head._sin[0]
        canvas.fill(
            smooth(
                [
                    [-who.width - 0.14, -0.5],
                    [-who.width - 0.06, -1.1],
                    [0, -1.42],
                    [who.width + 0.06, -1.1],
                    [who.width + 0.14, -0.5],
                ]
            )
            + [shift, 0],
            colour,
        )
        brim = head.at(
            smooth(
                [
                    [-who.width - 0.1, -0.5],
                    [0, -0.62],
                    [who.width + 0.1, -0.5],
                    [who.width * 0.7, -0.36],
                    [0, -0.44],
                    [-who.width * 0.7, -0.36],
                ],
                closed=True,
            ),
            0.25,
        )
        canvas.fill(brim, shaded(colour, 0.7))
