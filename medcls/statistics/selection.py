"""What choosing the best of several adds to its estimate."""

import numpy as np
from scipy.stats import norm


def excess_of_the_best(number: int, standard_error: float) -> float:
    """By how much the best of several estimates exceeds its true value, if all true values are equal.

    The expected largest of independent normal deviates, by Blom's formula (1958, Statistical Estimates and Transformed
    Beta-Variables). Estimates on the same images are positively correlated, which makes it smaller: this is a limit.

    Parameters
    ----------
    number : int
        Of estimates, at least 1.
    standard_error : float
        Of one estimate.
    """
    return float(standard_error * np.maximum(norm.ppf((number - 0.375) / (number + 0.25)), 0.0))
