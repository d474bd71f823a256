"""The float64 NumPy reading of the method's equations where task A is multilabel: loops, no tricks."""

import numpy as np

from tests.mtlcore.losses.reference import LOG_IMPOSSIBLE, log_sigmoid, log_softmax, logsumexp


def implied(z_a, R, multiclass, tau, trust, base):
    """log q, log(1 - q), the weight of each entry, and the log of what the weight lacks of 1."""
    N, L = len(z_a), R.shape[1]
    log_q, log_not_q, weight, log_rest = (np.zeros((N, L)) for _ in range(4))
    for n in range(N):
        for label in range(L):
            known = [k for k in range(len(R)) if not np.isnan(R[k, label]) and trust[k] > 0]
            log_weight = 0.0
            for k in range(len(R)):
                log_p, log_not_p = log_sigmoid(z_a[n, k] / tau), log_sigmoid(-z_a[n, k] / tau)
                usable = np.logaddexp(log_not_p, log_p + np.log(trust[k])) if k in known else log_not_p
                log_weight += 0.0 if k in known and trust[k] == 1 else usable
            weight[n, label] = np.exp(log_weight) if known else 0.0
            with np.errstate(divide="ignore"):
                log_rest[n, label] = np.log(-np.expm1(log_weight)) if known else 0.0
            if multiclass:
                continue
            z = {k: z_a[n, k] / tau + np.log(trust[k]) for k in known}
            none = 0.0 if base is None or base[label] == 0 else np.log1p(-base[label])
            first_order = []
            for k in known:
                r = R[k, label]
                none += (
                    log_sigmoid(-z[k]) if r == 1 else np.logaddexp(log_sigmoid(-z[k]), log_sigmoid(z[k]) + np.log1p(-r))
                )
                if r > 0:
                    first_order.append(log_sigmoid(z[k]) + np.log(r))
            log_not_q[n, label] = none
            leaks = base is not None and base[label] > 0
            if not first_order and not leaks:
                log_q[n, label], log_not_q[n, label] = LOG_IMPOSSIBLE, 0.0
            elif not leaks and logsumexp(first_order) < -20:  # q is the sum of its causes
                log_q[n, label] = logsumexp(first_order)
            else:
                log_q[n, label] = np.log(-np.expm1(none)) if none > -0.7 else np.log1p(-np.exp(none))
        if multiclass:
            prior = np.full(L, 1 / L) if base is None else base
            with np.errstate(divide="ignore"):
                log_prior = np.maximum(np.log(prior), LOG_IMPOSSIBLE)
                total = log_prior.copy()
                for k in range(len(R)):
                    if not np.isnan(R[k, 0]) and trust[k] > 0:
                        p = np.exp(log_sigmoid(z_a[n, k] / tau + np.log(trust[k])))
                        total += p * (np.maximum(np.log(R[k]), LOG_IMPOSSIBLE) - log_prior)
            log_q[n] = log_softmax(total)
    return log_q, log_not_q, weight, log_rest


def distribution_matching(z_a, z_b, R, multiclass, tau, direction, base):
    log_q, log_not_q, weight, log_rest = implied(z_a, R, multiclass, tau, np.ones(len(R)), base)
    total = 0.0
    for n in range(len(z_a)):
        own = log_softmax(z_b[n] / tau) if multiclass else None
        for label in range(z_b.shape[1]):
            if multiclass:
                pairs = [(own[label], log_q[n, label])]
                w, rest = weight[n, 0], log_rest[n, 0]
            else:
                z = z_b[n, label] / tau
                pairs = [(log_sigmoid(z), log_q[n, label]), (log_sigmoid(-z), log_not_q[n, label])]
                w, rest = weight[n, label], log_rest[n, label]
            for log_p, log_implied in pairs:
                if rest > -np.inf:  # B's own prediction stands for what is unknown
                    log_known = np.log(-np.expm1(rest)) if rest < 0 else -np.inf
                    log_implied = np.logaddexp(log_known + log_implied, rest + log_p)
                if direction in ("own_is_target", "symmetric"):
                    total -= w * np.exp(log_p) * log_implied
                if direction in ("implied_is_target", "symmetric"):
                    total -= w * np.exp(log_implied) * log_p
    return total, len(z_a)


def ill(z_a, y_b, R, multiclass, base):
    log_q, log_not_q, weight, _ = implied(z_a, R, multiclass, 1.0, np.ones(len(R)), base)
    total, count = 0.0, 0
    for n in range(len(z_a)):
        if multiclass:
            if y_b[n] >= 0:
                total -= weight[n, 0] * log_q[n, y_b[n]]
                count += 1
            continue
        for label in range(R.shape[1]):
            if y_b[n, label] >= 0:
                total -= weight[n, label] * (log_q if y_b[n, label] else log_not_q)[n, label]
                count += 1
    return total, count


def bernoulli(z, target):
    return -target * log_sigmoid(z) - (1 - target) * log_sigmoid(-z)


def to_source_labels(z_a, y_b, R, multiclass, trust, prior, base):
    total, count = 0.0, 0
    for n in range(len(z_a)):
        for k in range(len(R)):
            if trust[k] == 0:
                continue
            if multiclass:
                if y_b[n] < 0 or np.isnan(R[k, 0]):
                    continue
                of_class = 1 / R.shape[1] if base is None else base[y_b[n]]
                s = min(1.0, R[k, y_b[n]] * (0.5 if prior is None else prior[k]) / of_class)
            else:
                usable = [c for c in range(R.shape[1]) if y_b[n, c] >= 0 and not np.isnan(R[k, c])]
                related = sum(R[k, c] for c in usable)
                if related == 0:
                    continue
                s = sum(R[k, c] * y_b[n, c] for c in usable) / related
            total += trust[k] * bernoulli(z_a[n, k], s)
            count += 1
    return total, count


def from_labels(z_b, y_a, R, multiclass, form, trust, base):
    total, count = 0.0, 0.0
    K, L = R.shape
    for n in range(len(z_b)):
        if (y_a[n] < 0).all():
            continue
        weight = np.prod([trust[k] for k in range(K) if y_a[n, k] == 1 and trust[k] > 0])
        if multiclass:
            held = [k for k in range(K) if y_a[n, k] == 1 and not np.isnan(R[k, 0]) and trust[k] > 0]
            if held:
                log_prior = np.log(np.full(L, 1 / L) if base is None else base)
                with np.errstate(divide="ignore"):
                    log_q = log_softmax(
                        log_prior + sum(np.maximum(np.log(R[k]), LOG_IMPOSSIBLE) - log_prior for k in held)
                    )
                total -= weight * (np.exp(log_q) * log_softmax(z_b[n])).sum()
                count += 1
            continue
        for label in range(L):
            cells = {k: R[k, label] for k in range(K) if not np.isnan(R[k, label]) and trust[k] > 0}
            if not cells:
                continue
            leak = 0.0 if base is None else base[label]
            q = 1 - (1 - leak) * np.prod([1 - cells[k] for k in cells if y_a[n, k] == 1])
            if form == "positive":
                total -= weight * q * log_sigmoid(z_b[n, label])
                count += q
                continue
            open_causes = [k for k in range(K) if y_a[n, k] < 0 and cells.get(k, 1.0) > 0]
            open_causes += [k for k in range(K) if y_a[n, k] == 1 and k not in cells]
            if q < 1 and open_causes:
                continue
            total += weight * bernoulli(z_b[n, label], q)
            count += 1
    return total, count
