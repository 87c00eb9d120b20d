"""Check that an optimizer works with 16-bit weights."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from medcls.errors import MedclsError

SMALLEST_EPS = 1e-5
"""Squared gradients below 6e-8 are 0 in 16 bits (IEEE 754 binary16), so a step is divided by `eps` alone.

With the usual 1e-8 the second step of a ResNet-18 was infinite; with 1e-4 it trained.
"""


def check_half_precision(precision: str, optimizer: Callable[..., Any]) -> None:
    """Check that an optimizer works with weights and gradients of 16 bits.

    Parameters
    ----------
    precision : str
        `trainer.precision`. Only `16-true` is checked: `16-mixed` keeps 32-bit weights and scales the loss, `bf16-true`
        has the range of 32 bits.
    optimizer : Callable
        An optimizer class of torch, or a partial of one.
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
            "squared gradients are 0, so steps are divided by eps alone and the loss becomes NaN. Give "
            "trainer.precision=bf16-true or 16-mixed, or +optimizer.eps=1e-4.",
            kind="conflicting_settings",
        )
