"""Warnings as values, for those who have no terminal to read them."""

import warnings
from collections.abc import Callable
from typing import TypeVar

__all__ = ["with_warnings"]

T = TypeVar("T")


def with_warnings(run: Callable[[], T]) -> tuple[T, list[str]]:
    """Return the result and what the user was warned of, e.g. betas that are not z-scored."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = run()
    return result, [str(w.message) for w in caught if w.category is UserWarning]
