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


def implied(z_a, R, tau):
    """log q, log(1 - q) and the known probability, entry by entry, by logsumexp over the classes that are known."""
    N, L = len(z_a), R.shape[1]
    log_q, log_not_q, known = np.empty((N, L)), np.empty((N, L)), np.empty((N, L))
    for n in range(N):
        log_p = log_softmax(z_a[n] / tau)
        for label in range(L):
            cells = [(log_p[c], R[c, label]) for c in range(len(R)) if not np.isnan(R[c, label])]
            known[n, label] = sum(np.exp(lp) for lp, _ in cells)
            yes = [lp + np.log(r) for lp, r in cells if r > 0]
            no = [lp + np.log1p(-r) for lp, r in cells if r < 1]
            all_known = logsumexp([lp for lp, _ in cells]) if cells else 0.0
            log_q[n, label] = logsumexp(yes) - all_known if yes else LOG_IMPOSSIBLE
            log_not_q[n, label] = logsumexp(no) - all_known if no else LOG_IMPOSSIBLE
    return log_q, log_not_q, known


def distribution_matching(z_a, z_b, R, multiclass, tau, direction):
    log_q, log_not_q, known = implied(z_a, R, tau)
    total = 0.0
    for n in range(len(z_a)):
        if multiclass:
            log_p = log_softmax(z_b[n] / tau)
            pairs = [(log_p[k], log_q[n, k], known[n, 0]) for k in range(len(log_p))]
        else:
            pairs = []
            for k in range(z_b.shape[1]):
                pairs.append((log_sigmoid(z_b[n, k] / tau), log_q[n, k], known[n, k]))
                pairs.append((log_sigmoid(-z_b[n, k] / tau), log_not_q[n, k], known[n, k]))
        for log_p, log_implied, weight in pairs:
            if direction in ("own_is_target", "symmetric"):
                total -= weight * np.exp(log_p) * log_implied
            if direction in ("implied_is_target", "symmetric"):
                total -= weight * np.exp(log_implied) * log_p
    return total, len(z_a)


def sca_to_classes(z_a, y_b, R, multiclass, tau_co, prior=None):
    total, count = 0.0, 0
    for n in range(len(z_a)):
        scores = {}  # by class that B says something of
        for c in range(len(R)):
            if multiclass:
                if y_b[n] >= 0 and not np.isnan(R[c, y_b[n]]):
                    scores[c] = R[c, y_b[n]] * (1.0 if prior is None else prior[c])
                continue
            usable = [k for k in range(R.shape[1]) if y_b[n, k] >= 0 and not np.isnan(R[c, k])]
            if usable:
                related = sum(R[c, k] for k in usable)
                scores[c] = sum(R[c, k] * y_b[n, k] for k in usable) / related if related > 0 else 0.0
        values = np.array(list(scores.values()))
        if not scores or (multiclass and values.sum() == 0):
            continue
        q = values / values.sum() if multiclass else np.exp(log_softmax(values / tau_co))
        total -= (q * log_softmax(z_a[n][list(scores)])).sum()
        count += 1
    return total, count


def sca_to_labels(z_b, y_a, R, multiclass, form):
    total, weight = 0.0, 0.0
    for n in range(len(z_b)):
        if y_a[n] < 0:
            continue
        row = R[y_a[n]]
        if multiclass:
            if not np.isnan(row[0]):
                total -= (row * log_softmax(z_b[n])).sum()
                weight += 1
            continue
        for k in range(len(row)):
            if np.isnan(row[k]):
                continue
            total -= row[k] * log_sigmoid(z_b[n, k])
            if form == "full":
                total -= (1 - row[k]) * log_sigmoid(-z_b[n, k])
            weight += 1 if form == "full" else row[k]
    return total, weight


def ill(z_a, y_b, R, multiclass):
    log_q, log_not_q, known = implied(z_a, R, 1.0)
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
