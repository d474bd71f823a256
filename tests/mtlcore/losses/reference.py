"""An independent float64 NumPy reading of the method's equations: loops, no tricks."""

import numpy as np

LOG_IMPOSSIBLE = -100.0


def log_softmax(z):
    z = z - z.max()
    return z - np.log(np.exp(z).sum())


def log_sigmoid(z):
    return -np.logaddexp(0.0, -z)


def logsumexp(values):
    values = np.asarray(values)
    top = values.max()
    return top + np.log(np.exp(values - top).sum())


def supervised(z, y, multiclass):
    total, count = 0.0, 0
    for n in range(len(z)):
        if multiclass:
            if y[n] >= 0:
                total -= log_softmax(z[n])[y[n]]
                count += 1
        else:
            for label in range(z.shape[1]):
                if y[n, label] >= 0:
                    total -= log_sigmoid(z[n, label] if y[n, label] else -z[n, label])
                    count += 1
    return total, count


def implied(z_a, R, tau, trust=None):
    """log q, log(1 - q), the known probability and the log of the unknown one, entry by entry, by logsumexp.

    ``trust`` is a factor to the probability of every class, (C,), or of every class for every label, (C, L).
    """
    trust = np.ones(len(R)) if trust is None else trust
    of_row = trust if trust.ndim == 2 else np.repeat(trust[:, None], R.shape[1], axis=1)
    N, L = len(z_a), R.shape[1]
    log_q, log_not_q, known, log_unknown = (np.empty((N, L)) for _ in range(4))
    for n in range(N):
        log_p = log_softmax(z_a[n] / tau)
        for label in range(L):
            trust = of_row[:, label]
            usable = [c for c in range(len(R)) if not np.isnan(R[c, label]) and trust[c] > 0]
            cells = [(log_p[c] + np.log(trust[c]), R[c, label]) for c in usable]
            known[n, label] = sum(np.exp(lp) for lp, _ in cells)
            yes = [lp + np.log(r) for lp, r in cells if r > 0]
            no = [lp + np.log1p(-r) for lp, r in cells if r < 1]
            rest = [
                log_p[c] + (0.0 if np.isnan(R[c, label]) else np.log1p(-trust[c]))
                for c in range(len(R))
                if np.isnan(R[c, label]) or trust[c] < 1
            ]
            log_unknown[n, label] = logsumexp(rest) if rest else -np.inf
            all_known = logsumexp([lp for lp, _ in cells]) if cells else 0.0
            log_q[n, label] = logsumexp(yes) - all_known if yes else LOG_IMPOSSIBLE
            log_not_q[n, label] = logsumexp(no) - all_known if no else LOG_IMPOSSIBLE
    return log_q, log_not_q, known, log_unknown


def distribution_matching(z_a, z_b, R, multiclass, tau, direction, trust=None, form="full"):
    log_q, log_not_q, known, log_unknown = implied(z_a, R, tau, trust)
    total = 0.0
    for n in range(len(z_a)):
        if multiclass:
            log_p = log_softmax(z_b[n] / tau)
            pairs = [(log_p[k], log_q[n, k], known[n, 0], log_unknown[n, 0]) for k in range(len(log_p))]
        else:
            pairs = []
            for k in range(z_b.shape[1]):
                pairs.append((log_sigmoid(z_b[n, k] / tau), log_q[n, k], known[n, k], log_unknown[n, k]))
                if form == "positive":
                    continue
                pairs.append((log_sigmoid(-z_b[n, k] / tau), log_not_q[n, k], known[n, k], log_unknown[n, k]))
        for log_p, log_implied, weight, log_rest in pairs:
            if log_rest > -np.inf:  # B's own prediction stands for what is unknown
                log_some = np.log(-np.expm1(log_rest)) if log_rest < 0 else -np.inf
                log_implied = np.logaddexp(log_some + log_implied, log_rest + log_p)
            if direction in ("own_is_target", "symmetric"):
                total -= weight * np.exp(log_p) * log_implied
            if direction in ("implied_is_target", "symmetric"):
                total -= weight * np.exp(log_implied) * log_p
    return total, len(z_a)


def log_evidence(y_b, R, clip, shares, trust, c, labels):
    """log P(the annotated labels | class c); a cell is known with its trust, and else the mean of its column."""
    total = 0.0
    for k in labels:
        w = [0.0 if np.isnan(R[i, k]) else shares[i] * trust[i, k] for i in range(len(R))]
        mean = sum(w[i] * R[i, k] for i in range(len(R)) if w[i] > 0) / sum(w) if sum(w) > 0 else 0.0
        r = mean if np.isnan(R[c, k]) else trust[c, k] * R[c, k] + (1 - trust[c, k]) * mean
        r = min(max(r, clip), 1 - clip)
        with np.errstate(divide="ignore"):
            total += max(np.log(r) if y_b[k] else np.log1p(-r), LOG_IMPOSSIBLE)
    return total


def sca_to_classes(z_a, y_b, R, multiclass, tau_co, prior=None, trust=None, form="paper", clip=0.05):
    """``trust``: of rows, (C,), or for a multilabel B of cells, (C, L), which fall to their rows' best."""
    total, count = 0.0, 0
    trust = np.ones(len(R)) if trust is None else trust
    cells = np.ones(R.shape)
    if trust.ndim == 2:
        cells, trust = trust, np.where(np.isnan(R), 0.0, trust).max(axis=1)
        cells = np.where(trust[:, None] > 0, cells / np.where(trust > 0, trust, 1.0)[:, None], 1.0)
    weights = np.ones(len(R)) if prior is None else np.asarray(prior)
    for n in range(len(z_a)):
        scores = {}  # by class that B says something of
        for c in range(len(R)):
            if multiclass:
                if y_b[n] >= 0 and not np.isnan(R[c, y_b[n]]):
                    scores[c] = R[c, y_b[n]] * weights[c]
                continue
            labels = [k for k in range(R.shape[1]) if y_b[n, k] >= 0]
            usable = [k for k in labels if not np.isnan(R[c, k]) and cells[c, k] > 0]
            if usable and form == "bayes":
                scores[c] = log_evidence(y_b[n], R, clip, weights * trust, cells, c, labels) + tau_co * np.log(
                    weights[c]
                )
            elif usable:
                related = sum(cells[c, k] * R[c, k] for k in usable)
                held = sum(cells[c, k] * R[c, k] * y_b[n, k] for k in usable)
                scores[c] = held / related if related > 0 else 0.0
        values = np.array(list(scores.values()))
        if not scores or (multiclass and values.sum() == 0):
            continue
        q = values / values.sum() if multiclass else np.exp(log_softmax(values / tau_co))
        count += 1
        trusted = [i for i, c in enumerate(scores) if trust[c] > 0]
        if trusted:
            t = np.array([trust[list(scores)[i]] for i in trusted])
            z = z_a[n][[list(scores)[i] for i in trusted]]
            total -= (t * q[trusted] * log_softmax(z + np.log(t))).sum()
    return total, count


def sca_to_labels(z_b, y_a, R, multiclass, form, trust=None):
    total, weight = 0.0, 0.0
    trust = np.ones(len(R)) if trust is None else trust
    for n in range(len(z_b)):
        if y_a[n] < 0:
            continue
        row, t = R[y_a[n]], np.broadcast_to(trust[y_a[n]], R.shape[1])
        if multiclass:
            if not np.isnan(row[0]):
                total -= (t * row * log_softmax(z_b[n])).sum()
                weight += 1
            continue
        for k in range(len(row)):
            if np.isnan(row[k]):
                continue
            total -= t[k] * row[k] * log_sigmoid(z_b[n, k])
            if form == "full":
                total -= t[k] * (1 - row[k]) * log_sigmoid(-z_b[n, k])
            weight += 1 if form == "full" else row[k]
    return total, weight


def ill(z_a, y_b, R, multiclass, trust=None):
    log_q, log_not_q, known, _ = implied(z_a, R, 1.0, trust)
    total, count = 0.0, 0
    for n in range(len(z_a)):
        if multiclass:
            if y_b[n] >= 0:
                total -= known[n, 0] * log_q[n, y_b[n]]
                count += 1
        else:
            for k in range(R.shape[1]):
                if y_b[n, k] >= 0:
                    total -= known[n, k] * (log_q if y_b[n, k] else log_not_q)[n, k]
                    count += 1
    return total, count
