"""Selections: which items of an epoch, or between two logged steps, are kept."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import as_list, did_you_mean

Keys: TypeAlias = NDArray[np.float64]
KeysOf: TypeAlias = Callable[[int, NDArray[np.float64] | None], Keys]
"""Returns the keys of a batch for the number of its items and their scores."""

DEFAULT_COUNT = 8
_MOST = np.finfo(np.float64).max


class Selection(ABC):
    """Keeps the n items with the lowest keys; of equal keys, those that came first.

    With several processes, items are ordered as a single process would have seen them.

    Args:
        n: The number of items, at least 1. The default is 8.

    Raises:
        ValueError: If n is not a positive integer.
    """

    needs_scores = False
    """Whether keys are made from scores; then items are shown in the order of their scores, otherwise as they came."""

    def __init__(self, n: int = DEFAULT_COUNT) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{type(self).__name__} got n={n!r}; expected an integer of at least 1, for example 8.")
        self.n = n

    @property
    def name(self) -> str:
        """Its name, as in ``reduce_fx="top8"``."""
        return f"{type(self).__name__.lower()}{self.n}"

    @abstractmethod
    def keys(self, rank: int) -> KeysOf:
        """Return the function that makes the keys of each batch.

        Args:
            rank: The rank of the process.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n})"


class First(Selection):
    """The first n items.

    Args:
        n: As for `Selection`.

    Examples:
        >>> First(8).name
        'first8'
    """

    def keys(self, rank: int) -> KeysOf:  # noqa: ARG002  as in `Selection`
        """Return a function that numbers the items.

        Args:
            rank: As for `Selection`.
        """
        return _Numbering(1)


class Last(Selection):
    """The last n items.

    Args:
        n: As for `Selection`.

    Examples:
        >>> Last(8).name
        'last8'
    """

    def keys(self, rank: int) -> KeysOf:  # noqa: ARG002  as in `Selection`
        """Return a function that numbers the items downwards.

        Args:
            rank: As for `Selection`.
        """
        return _Numbering(-1)


class Sample(Selection):
    """n items drawn uniformly without replacement.

    Each item gets a random key, and the items with the lowest keys are kept: P. S. Efraimidis and P. G. Spirakis,
    "Weighted random sampling with a reservoir" (2006), with equal weights. Epochs with the same items in
    the same order keep the same ones.

    Args:
        n: As for `Selection`.
        seed: The seed of the draws, at least 0.

    Examples:
        >>> Sample(8, seed=1).name
        'sample8'
    """

    def __init__(self, n: int = DEFAULT_COUNT, seed: int = 0) -> None:
        super().__init__(n)
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Sample got seed={seed!r}; expected an integer of at least 0.")
        self.seed = seed

    def __repr__(self) -> str:
        return f"Sample({self.n}, seed={self.seed})"

    def keys(self, rank: int) -> KeysOf:
        """Return a function that draws the keys.

        Args:
            rank: As for `Selection`.
        """
        generator = np.random.default_rng([self.seed, rank])
        return lambda count, _: generator.random(count)


class Top(Selection):
    """The n items with the highest scores; a score that is NaN counts as the lowest.

    Args:
        n: As for `Selection`.

    Examples:
        >>> Top(8).name
        'top8'
    """

    needs_scores = True
    _sign = -1.0

    def keys(self, rank: int) -> KeysOf:  # noqa: ARG002  as in `Selection`
        """Return a function that makes keys from scores.

        Args:
            rank: As for `Selection`.
        """
        return self._of_scores

    def _of_scores(self, _: int, scores: NDArray[np.float64] | None) -> Keys:
        assert scores is not None  # noqa: S101  `needs_scores`
        # After all numbers, including infinite ones.
        return np.nan_to_num(self._sign * scores, nan=np.inf, posinf=_MOST, neginf=-_MOST)


class Bottom(Top):
    """The n items with the lowest scores; a score that is NaN counts as the highest.

    Args:
        n: As for `Selection`.

    Examples:
        >>> Bottom(8).name
        'bottom8'
    """

    _sign = 1.0


class _Numbering:
    """Numbers items in the order in which they come."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._count = 0

    def __call__(self, count: int, _: NDArray[np.float64] | None) -> Keys:
        start, self._count = self._count, self._count + count
        return self._sign * np.arange(start, self._count, dtype=np.float64)


_NAMES = {selection.__name__.lower(): selection for selection in (First, Last, Sample, Top, Bottom)}
_PATTERN = re.compile(rf"({'|'.join(_NAMES)})(?:(\d+)|\((\d+)\))?")


def is_selection(asked: object) -> bool:
    """Return whether a value of ``reduce_fx`` asks for one selection or several."""
    if is_list(asked):
        return bool(asked) and all(map(is_selection, asked))
    return isinstance(asked, Selection) or (isinstance(asked, str) and _PATTERN.fullmatch(asked.strip()) is not None)


def selection_of(asked: object) -> Selection:
    """Return the selection for a name or an object.

    Args:
        asked: A `Selection`, or its name: ``"top8"``, ``"top(8)"``, or ``"top"`` for 8 items.

    Raises:
        MisconfigurationException: If it is neither.

    Examples:
        >>> selection_of("bottom(3)")
        Bottom(3)
    """
    if isinstance(asked, Selection):
        return asked
    if isinstance(asked, str) and (match := _PATTERN.fullmatch(asked.strip())):
        name, *counts = match.groups()
        return _NAMES[name](int(counts[0] or counts[1] or DEFAULT_COUNT))
    guess = ""
    if isinstance(asked, str):
        if several := as_list(asked, is_selection):
            raise MisconfigurationException(
                f"reduce_fx={asked!r} is one string; expected a list, reduce_fx={several!r}."
            )
        guess = did_you_mean(asked, _NAMES, numbered=_NAMES)
    raise MisconfigurationException(
        f"reduce_fx={asked!r} selects no media; expected first, last, sample, top or bottom with a number of items,"
        " such"
        f' as reduce_fx="top8", an object such as Top(8), or a list of these.{guess}'
    )
