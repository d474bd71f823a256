"""The worlds of the studies: inputs and labels from a generator, each after a mechanism or use of Caruana 1997.

A world is a function of a generator for the rows and of how many there are; what is the same in all rows of a world
(its weights) comes from the world's own generator, so that training and test rows are of one world.
"""

from collections.abc import Callable

import numpy as np

Columns = dict[str, np.ndarray]
World = Callable[[np.random.Generator, int], tuple[np.ndarray, Columns]]

WORLDS: dict[str, World] = {}


def _world(make: World) -> World:
    WORLDS[make.__name__] = make
    return make


def _fixed(number: int) -> np.random.Generator:
    return np.random.default_rng((1997, number))


def _flipped(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    wrong: np.ndarray = labels ^ (rng.random(labels.shape) < share)
    return wrong


def _bits(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    return rng.integers(0, 2, (n, width)) * 2.0 - 1.0


@_world
def amplification(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """30 numbers; ``main`` is a linear rule of them, and ``noisy_main`` and ``extra0`` to ``extra5`` are the same rule,
    each with its own 25 % of labels that are wrong. Averaged over tasks, the errors cancel."""
    w = _fixed(1).normal(size=30)
    x = rng.normal(size=(n, 30))
    truth = x @ w > 0
    columns = {"main": truth, "noisy_main": _flipped(truth, 0.25, rng)}
    return x, columns | {f"extra{i}": _flipped(truth, 0.25, rng) for i in range(6)}


@_world
def attribute_selection(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """60 numbers of which four matter: ``main`` is which of two of their sums is the larger in size, and ``extra0`` to
    ``extra3`` are other functions of the same four."""
    x = rng.normal(size=(n, 60))
    a, b, c, d = x[:, :4].T
    extras = {"extra0": a + b > 0.5, "extra1": c + d > 0.5, "extra2": a + b < -0.5, "extra3": c + d < -0.5}
    return x, {"main": abs(a + b) > abs(c + d) + 0.2 * (a - c), **extras}


@_world
def eavesdropping(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """Bits. ``extra`` is a feature that takes three products of them; ``main`` holds where the feature does and another
    product is positive too, so half of the time it says nothing of the feature, and half of it is as if by chance."""
    x = _bits(rng, n, 14)
    feature = x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] + x[:, 4] * x[:, 5] > 0
    return x, {"extra": feature, "main": feature & (x[:, 6] > 0)}


@_world
def representation_bias(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """Two blocks of ten numbers that say the same: either is enough for ``main``. ``extra``, whether the first
    block's sum is large, needs the first alone."""
    label = rng.integers(0, 2, n) == 1
    return _blocks(rng, label, label)


@_world
def representation_apart(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """The same, but the blocks have nothing to do with each other: where ``extra`` is learnt from."""
    return _blocks(rng, rng.integers(0, 2, n) == 1, rng.integers(0, 2, n) == 1)


@_world
def representation_conflict(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """The same, but the blocks contradict each other; ``main`` is what the first block says, so its accuracy is the
    share of decisions by the block that the tasks have in common."""
    label = rng.integers(0, 2, n) == 1
    return _blocks(rng, label, ~label)


def _blocks(rng: np.random.Generator, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, Columns]:
    u, v = _fixed(4).normal(size=(2, 10)) / np.sqrt(10)
    x = rng.normal(size=(len(first), 20))
    for block, direction, says in ((x[:, :10], u, first), (x[:, 10:], v, second)):
        along = direction / np.linalg.norm(direction)
        block += np.outer(np.where(says, 1.0, -1.0) * (0.5 + abs(block @ along)) - block @ along, along)
    strength = x[:, :10] @ (u / np.linalg.norm(u))
    return x, {"main": first, "extra": strength > 0.9}


@_world
def shared_units(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """``first`` and ``second`` are functions of the same two features of twelve numbers, ``other`` of two others."""
    x = rng.normal(size=(n, 12))
    a, b = x[:, 0] * x[:, 1] + x[:, 2], x[:, 3] * x[:, 4] - x[:, 5]
    c, d = x[:, 6] * x[:, 7] + x[:, 8], x[:, 9] * x[:, 10] - x[:, 11]
    return x, {"first": a + b > 0, "second": a - b > 0, "other": c + d > 0}


@_world
def codings(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """A quantity in three codings: ``bin``, which of six ranges it lies in; ``above0`` to ``above4``, whether it is
    above each bound between them; ``coarse``, which third."""
    w = _fixed(6).normal(size=(2, 20))
    x = rng.normal(size=(n, 20))
    quantity = np.tanh(x @ w[0] / 3) + 0.6 * np.sin(x @ w[1] / 3) + 0.15 * rng.normal(size=n)
    bounds = np.array([-1.0, -0.45, 0.0, 0.45, 1.0])
    which = np.searchsorted(bounds, quantity)
    columns = {"bin": np.array([f"bin{k}" for k in which]), "coarse": np.array([f"third{k // 2}" for k in which])}
    return x, columns | {f"above{i}": quantity > bound for i, bound in enumerate(bounds)}


@_world
def focus(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """A row of 48 pixels with a broad bright road and a faint thin line. ``main`` is whether the line lies in the
    left half, which the road tells less well, but more loudly; ``before12`` to ``before39`` are whether it lies before
    a pixel, which nobody needs to know."""
    at, line = np.arange(48), rng.uniform(8, 40, n)
    road, width = line + 8 * rng.normal(size=n), rng.uniform(7, 11, n)
    picture = 2.0 * np.exp(-((((at - road[:, None]) / width[:, None]) / 1.1) ** 4))
    picture += 0.8 * np.exp(-(((at - line[:, None]) / 1.5) ** 2)) + 0.12 * rng.normal(size=(n, 48))
    before = {f"before{k:02d}": line < k for k in range(12, 40, 3)}
    return picture, {"main": line < 24, **before}


@_world
def costly_features(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """30 cheap measurements; ``main`` follows from eight findings of an examination (``finding0`` to ``finding7``) that
    is made of the patients in the study and of nobody afterwards."""
    fixed = _fixed(8)
    w, v = fixed.normal(size=(30, 8)) / np.sqrt(30), fixed.normal(size=8)
    x = rng.normal(size=(n, 30))
    inner = np.tanh(2.5 * (x @ w) + 0.3 * rng.normal(size=(n, 8)))
    findings = {f"finding{i}": inner[:, i] > 0 for i in range(8)}
    return x, {"main": np.where(inner > 0, 1.0, -1.0) @ v > 0, **findings}


@_world
def future(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """A course of illness: 24 measurements of the first day; ``main`` is the outcome, which the later courses
    (``day2_worse`` to ``day5_worse``) lead to. They are known of past patients when a network is trained."""
    fixed = _fixed(9)
    w = fixed.normal(size=(24, 3)) / np.sqrt(24)
    turn = np.linalg.qr(fixed.normal(size=(3, 3)))[0]
    x = rng.normal(size=(n, 24))
    state = np.tanh(2 * x @ w)
    days: Columns = {}
    for day in range(2, 6):
        state = np.tanh(1.6 * state @ turn + 0.15 * rng.normal(size=state.shape))
        days |= {f"day{day}_worse": state[:, 0] > 0, f"day{day}_fever": state[:, 1] > 0}
    return x, {"main": _flipped(state[:, 2] + 0.5 * state[:, 0] > 0, 0.1, rng), **days}


@_world
def input_or_output(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """24 numbers, the last four of them noisy readings of what ``main`` depends on, which also follows, exactly but not
    easily, from the first 20; ``reading0`` to ``reading3`` are the readings as labels: whether each is positive."""
    fixed = _fixed(10)
    w, v = fixed.normal(size=(20, 4)) / np.sqrt(20), fixed.normal(size=4)
    x = rng.normal(size=(n, 20))
    inner = np.sin(1.6 * (x @ w))
    readings = inner + 1.0 * rng.normal(size=inner.shape)
    labels = {f"reading{i}": readings[:, i] > 0 for i in range(4)}
    return np.concatenate([x, readings], axis=1), {"main": inner @ v > 0, **labels}


@_world
def sequential_transfer(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Columns]:
    """30 numbers; an older model (``old0`` to ``old5``: what it says of any input) was trained for other tasks that
    look for the same four features, each a little off; ``main`` is a new task of them."""
    fixed = _fixed(11)
    w, off = fixed.normal(size=(2, 30, 4)) / np.sqrt(30)
    mix, v = fixed.normal(size=(4, 6)), fixed.normal(size=4)
    x = rng.normal(size=(n, 30))
    inner, old = np.tanh(2 * x @ w), np.tanh(2 * x @ (w + 0.25 * off)) @ mix
    return x, {"main": inner @ v > 0, **{f"old{i}": old[:, i] > 0 for i in range(6)}}
