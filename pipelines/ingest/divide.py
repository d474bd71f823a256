"""Divide rows into parts: by groups, stratified by labels, by time, in folds; the same seed, the same parts."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import xxhash

from mtlcore import is_annotated
from pipelines.base.errors import UserError
from pipelines.case.split import SPLITS, Part

_QUANTILES = 10  # numbers are shared out evenly by tenths


def part_of_rows(
    part: Part, groups: Sequence[str], labels: Mapping[str, np.ndarray], times: Sequence[str | None] | None = None
) -> np.ndarray:
    """Return which rows are a part's, bool (n,).

    Args:
        part: which, of what division.
        groups: of each row what it stays together with: its image's id, or its value in the column ``by``.
        labels: of every row by task, as :mod:`mtlcore.tasks` says, of the tasks to stratify by.
        times: of every row, where it is divided by time.

    Raises:
        UserError: a time cannot be read.
    """
    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(which, minlength=len(names))
    if part.time is not None:
        return np.asarray(_by_time(part, which, sizes, times or ())[which] == SPLITS.index(part.of))
    if part.joint:
        return np.asarray(_by_name(part, names.tolist())[which])
    digests = [xxhash.xxh3_64_intdigest(f"{part.seed}/{name}".encode()) for name in names.tolist()]
    order = np.argsort(np.array(digests, dtype=np.uint64), kind="stable")
    strata = _strata(labels, which, len(names))
    if part.folds is None:
        targets = np.array([part.share(name) for name in SPLITS])
        return np.asarray(_shared_out(order, sizes, strata, targets)[which] == SPLITS.index(part.of))
    fold = _shared_out(order, sizes, strata, np.full(part.folds, 1 / part.folds))
    if part.of == "test":
        return np.asarray(fold[which] == part.fold)
    rest = np.asarray(fold != part.fold)
    share = part.share("validation")
    kept = order[rest[order]]
    validation = np.zeros(len(names), dtype=int)
    validation[kept] = _shared_out(kept, sizes, strata, np.array([1 - share, share]))[kept]
    return np.asarray((rest & (validation == SPLITS.index(part.of)))[which])


def _shared_out(order: np.ndarray, sizes: np.ndarray, strata: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Give each group in turn to the part that lacks most of its stratum; large groups come first.

    What a stratum leaves over is carried to the next, so that many small strata come to the targets together. After
    K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data", ECML 2011, with a stratum for
    every combination of labels.

    Args:
        order: the groups to share out, in the seed's order.
        sizes: rows of every group.
        strata: of every group.
        targets: the share of each part.

    Returns:
        the part of every group; -1 of those not in ``order``.
    """
    given = np.full(len(sizes), -1)
    usable, carried = np.flatnonzero(targets > 0).tolist(), np.zeros(len(targets))
    by_stratum = order[np.lexsort((-sizes[order], strata[order]))]
    cuts = np.flatnonzero(np.diff(strata[by_stratum])) + 1
    for of_stratum in np.split(by_stratum, cuts):
        lacking = (targets * sizes[of_stratum].sum() + carried).tolist()
        for group in of_stratum.tolist():
            part = max(usable, key=lambda k: (round(lacking[k], 9), -k))
            given[group] = part
            lacking[part] -= int(sizes[group])
        carried = np.array(lacking)
    return given


def _strata(labels: Mapping[str, np.ndarray], which: np.ndarray, groups: int) -> np.ndarray:
    """Return a number a group: equal where the labels of its first annotated row are."""
    if not labels:
        return np.zeros(groups, dtype=int)
    columns = []
    for values in labels.values():
        wide = values.reshape(len(values), -1)
        if wide.dtype.kind == "f":
            edges = np.nanquantile(wide, np.linspace(0, 1, _QUANTILES + 1)[1:-1], axis=0)
            binned = [np.searchsorted(edges[:, k], wide[:, k]) for k in range(wide.shape[1])]
            wide = np.where(is_annotated(wide), np.stack(binned, axis=1), -1)
        columns.append(wide.astype(np.int64))
    table = np.concatenate(columns, axis=1)
    says = np.asarray(np.any(table >= 0, axis=1))
    first = np.full(groups, -1)
    for row in range(len(table) - 1, -1, -1):  # the first annotated row of a group, or its first
        if says[row] or first[which[row]] < 0:
            first[which[row]] = row
    return np.unique(table[first], axis=0, return_inverse=True)[1].reshape(-1)


def _by_name(part: Part, names: Sequence[str]) -> np.ndarray:
    """Return which groups are a part's, by their names alone: they come to the same part whatever else there is."""

    def drawn(what: str, name: str) -> float:
        return float(xxhash.xxh3_64_intdigest(f"{part.seed}/{what}/{name}".encode()) / 2**64)

    def of(name: str) -> str:
        if part.folds is not None:
            if int(drawn("fold", name) * part.folds) == part.fold:
                return "test"
            return "validation" if drawn("validation", name) < part.share("validation") else "train"
        ends = np.cumsum([part.share(split) for split in SPLITS])
        return SPLITS[min(int(np.searchsorted(ends, drawn("part", name), side="right")), len(SPLITS) - 1)]

    return np.array([of(name) == part.of for name in names], dtype=bool)


def _by_time(part: Part, which: np.ndarray, sizes: np.ndarray, times: Sequence[str | None]) -> np.ndarray:
    """Return each group's part: the earliest for training, the last for the test; one time is one part's."""
    at = np.full(len(sizes), -np.inf)
    np.maximum.at(at, which, np.array([_time(part, text) for text in times]))
    moments, of_group = np.unique(at, return_inverse=True)
    rows = np.bincount(of_group, weights=sizes, minlength=len(moments))
    ends = np.cumsum([part.share(name) for name in SPLITS]) * rows.sum()
    middle = np.cumsum(rows) - rows / 2
    return np.minimum(np.searchsorted(ends, middle, side="left"), len(SPLITS) - 1)[of_group]


def _time(part: Part, text: str | None) -> float:
    if text is None:
        return -np.inf  # of a row whose time is not known, at least nothing is tested
    try:
        try:
            return float(text)
        except ValueError:
            return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UserError(
            f"split.time: found {text!r} in the column {part.time!r}; expected numbers, or dates like 2026-01-31"
        ) from None
