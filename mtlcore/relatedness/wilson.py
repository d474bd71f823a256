"""Wilson's score interval for a proportion."""

import torch
from torch import Tensor


def wilson_interval(share: Tensor, count: Tensor, confidence: float = 0.95) -> Tensor:
    """Return the score interval of E. B. Wilson, "Probable inference, the law of succession", JASA 1927.

    It lies within [0, 1] and holds also for shares of 0 and 1, and for counts that are not whole.
    Its low end is 0 where less than half of one input speaks for the share, its high end 1 where less speaks against.

    Args:
        share: float64, any shape, in [0, 1]; NaN gives NaN.
        count: what it was counted from, float64, same shape, >= 0, infinite where it is certain.
        confidence: in (0, 1).

    Returns:
        low and high end in a last dimension of 2.

    Raises:
        ValueError: the confidence is not in (0, 1).

    Example:
        >>> import torch
        >>> from mtlcore.relatedness.wilson import wilson_interval
        >>> wilson_interval(torch.tensor([0.0], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64))
        tensor([[0.0000, 0.2775]], dtype=torch.float64)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: found {confidence}; expected a number in (0, 1)")
    z = torch.special.ndtri(torch.tensor(0.5 + confidence / 2, dtype=torch.float64))
    of_count = z**2 / count  # infinite for a count of 0: everything is possible
    finite = torch.where(count > 0, of_count, torch.zeros_like(of_count))
    middle = (share + finite / 2) / (1 + finite)
    half = (
        z
        / (1 + finite)
        * (share * (1 - share) / count.clamp(min=1e-300) + finite / (4 * count.clamp(min=1e-300))).sqrt()
    )
    half = torch.where(torch.isinf(count), torch.zeros_like(half), half)
    low, high = (middle - half).clamp(0, 1), (middle + half).clamp(0, 1)
    # Soft counts and smoothing leave no share exactly 0: where less than half an input speaks for it, it may be.
    low = torch.where(share * count < 0.5, torch.zeros_like(low), low)
    high = torch.where((1 - share) * count < 0.5, torch.ones_like(high), high)
    nothing = (count == 0) & ~share.isnan()
    low = torch.where(nothing, torch.zeros_like(low), torch.minimum(low, share))
    high = torch.where(nothing, torch.ones_like(high), torch.maximum(high, share))
    return torch.stack([low, high], dim=-1)
