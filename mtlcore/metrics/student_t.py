"""Quantiles of Student's t, for any number of degrees of freedom, and the interval of a mean of few seeds."""

from statistics import NormalDist

import numpy as np

_LARGE = 200.0
_PLACES = 20_001


def t_quantile(probability: float, degrees: float) -> float:
    """Return a quantile of Student's t distribution.

    By quadrature of its density; from 200 degrees on by the expansion about the normal quantile (E. A. Cornish, R. A.
    Fisher, 1938). Right to 1e-6 relative for probabilities up to 0.9999.

    Args:
        probability: in [0.5, 1).
        degrees: of freedom, >= 1, need not be whole.

    Example:
        >>> round(t_quantile(0.975, 2), 3)
        4.303
    """
    if degrees >= _LARGE:
        z = NormalDist().inv_cdf(probability)
        return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    # With t = sqrt(degrees) tan(angle) the density is cos(angle)^(degrees - 1), up to a factor.
    angles = np.linspace(0, np.pi / 2, _PLACES)
    density = np.cos(angles) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2 * probability - 1, area / area[-1], angles)
    return float(np.sqrt(degrees) * np.tan(angle))


def interval_half_width(without_a_seed: np.ndarray, replicated: np.ndarray, confidence: float) -> float:
    """Return how far an interval reaches to either side of an estimate from some seeds and some test inputs.

    Args:
        without_a_seed: the estimate with each of the S seeds left out, (S,); empty for one seed.
        replicated: bootstrap replicates over inputs, all seeds in each; NaN ones are left out.
        confidence: in (0, 1).

    Returns:
        :func:`combined_half_width` of the jackknife's variance over seeds (for a mean the sample variance over the
        number of seeds) and the bootstrap's over inputs.
    """
    seeds = len(without_a_seed)
    deviations = without_a_seed - without_a_seed.mean() if seeds else np.zeros(1)
    of_seeds = float((deviations**2).sum() * (seeds - 1) / seeds) if seeds else 0.0
    return float(combined_half_width(of_seeds, float(np.nanvar(replicated)), seeds, confidence))


def combined_half_width(
    of_seeds: float | np.ndarray, of_inputs: float | np.ndarray, seeds: int, confidence: float
) -> float | np.ndarray:
    r"""Join what other seeds and other inputs would change into one half width.

    .. math:: \sqrt{t_{S-1}^2 V_s + z^2 V_i}

    The squares of the two half widths add up (G. Y. Zou, A. Donner, "Construction of confidence limits about effect
    measures", Statistics in Medicine 2008): exact where either source is alone, and never far on the bold side
    between, unlike one quantile of Satterthwaite's degrees of freedom, which two or three seeds that are alike by
    chance make small. For three seeds t is 4.3 at 95 %; a percentile bootstrap over them reaches 1.6 standard errors.
    With one seed nothing is known of the first source, and it is left out.

    Args:
        of_seeds: V_s, the variance of the estimate over seeds, estimated from S of them.
        of_inputs: V_i, its variance over inputs.
        seeds: S.
        confidence: in (0, 1).
    """
    upper = 0.5 + confidence / 2
    t = t_quantile(upper, seeds - 1) if seeds > 1 else 0.0
    return np.sqrt(t**2 * of_seeds + NormalDist().inv_cdf(upper) ** 2 * of_inputs)
