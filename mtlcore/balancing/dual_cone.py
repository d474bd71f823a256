"""Projection onto the dual cone of the objectives' gradients (UPGrad and DualProj)."""

import torch
from torch import Tensor


def project_onto_dual_cone(U: Tensor, G: Tensor) -> Tensor:
    r"""Return the weights v of the projection of each :math:`J^\top u` onto the cone of what harms no objective.

    .. math:: \min_v v^\top G v \quad \text{subject to} \quad v \ge u, \qquad G = J J^\top

    P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2406.16232, proposition 1. With
    v = u + w it is a non-negative least-squares problem, solved by the active-set method of C. Lawson and R. Hanson,
    "Solving Least Squares Problems" (1974), chapter 23, in float64. TorchJD's own projector needs a solver under
    the GPL, and does not project at all where the trace of G is below 1e-4, as it is late in training.

    Args:
        U: shape (..., m).
        G: shape (m, m), symmetric, positive semi-definite.

    Returns:
        v of U's shape, dtype and device.

    Example:
        >>> import torch
        >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
        >>> v = project_onto_dual_cone(torch.ones(2), J @ J.T)
        >>> bool((J @ (v @ J) > -1e-5).all())
        True
    """
    # On the CPU: m is the number of tasks, and an active-set method decides between steps what a device would wait for.
    G64 = G.detach().to("cpu", torch.float64)
    trace = G64.diagonal().sum()
    if trace > 0:
        G64 = G64 / trace
    G64 = G64 + 1e-6 * torch.eye(len(G64), dtype=torch.float64)  # a float32 Gramian may be slightly indefinite
    rows = U.detach().to("cpu", torch.float64).reshape(-1, len(G64))
    V = torch.stack([u + _non_negative_least_squares(G64, -G64 @ u) for u in rows])
    return V.reshape(U.shape).to(U.device, U.dtype)


def _non_negative_least_squares(G: Tensor, c: Tensor, tolerance: float = 1e-12) -> Tensor:
    """Return the w >= 0 that minimises w'Gw / 2 - c'w.

    scipy.optimize.nnls is the same method, and nothing else that is always installed needs scipy's 140 MB.
    """
    w = torch.zeros_like(c)
    passive = torch.zeros_like(c, dtype=torch.bool)
    # Each round lets one weight in; more than m rounds come of rounding alone, and are not waited for without end.
    for _ in range(10 * len(c)):
        slope = torch.where(passive, -torch.inf, c - G @ w)
        if slope.max() <= tolerance:
            break
        passive[slope.argmax()] = True
        while True:
            z = torch.zeros_like(c)
            z[passive] = torch.linalg.solve(G[passive][:, passive], c[passive])
            blocked = passive & (z <= 0)
            if not blocked.any():
                w = z
                break
            w = w + (w[blocked] / (w[blocked] - z[blocked])).min() * (z - w)
            passive &= w > tolerance
            w = torch.where(passive, w, 0.0)
    return w
