"""Numbers of 16 bits: what they cannot do for an optimizer."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from medcls.errors import MedclsError

SMALLEST_EPS = 1e-5
"""Squared gradients below 6e-8 are 0 in 16 bits (IEEE 754 binary16), and a step is then divided by `eps` alone.

With 1e-8, its usual value, the second step of a ResNet-18 came out infinite; with 1e-4 it trained.
"""


def check_half_precision(precision: str, optimizer: Callable[..., Any]) -> None:
    """See that an optimizer can work where weights and gradients have 16 bits and no factor keeps them from being 0.

    Parameters
    ----------
    precision : str
        `trainer.precision`. Only `16-true` is in question: `16-mixed` keeps weights of 32 bits and scales the loss,
        `bf16-true` has the range of 32 bits.
    optimizer : Callable
        A class of torch's, or a partial of one.

    Raises
    ------
    MedclsError
        Its `eps` is as good as 0 there.
    """
    if precision != "16-true":
        return
    bound = optimizer.keywords if isinstance(optimizer, functools.partial) else {}
    kind = optimizer.func if isinstance(optimizer, functools.partial) else optimizer
    parameter = inspect.signature(kind).parameters.get("eps")
    eps = bound.get("eps", None if parameter is None else parameter.default)
    if isinstance(eps, float) and eps < SMALLEST_EPS:
        raise MedclsError(
            f"trainer.precision=16-true with {getattr(kind, '__name__', kind)}, whose eps is {eps:g}: in 16 bits small "
            "squared gradients are 0, and steps are divided by that eps alone until the loss is not a number. Give "
            "trainer.precision=bf16-true or 16-mixed, or +optimizer.eps=1e-4.",
            kind="conflicting_settings",
        )
