"""The same run made without TrackPlus and with it, and where they differ."""

from __future__ import annotations

import pytest

from tests.support.paired_runs import (
    WAYS,
    fit,
    report,
)
from tests.support.training import loader


def same(root, make, act=fit, *, ways=("open",), **options):
    """Make a run without TrackPlus and in other ways, show that they are the same, and return what was seen."""
    without = report(root, "without", make, act, **options)
    for way in ways:
        found = report(root, way, make, act, **options)
        if (differs := difference(without, found)) is not None:
            pytest.fail(f"{way}: {str(differs)[:1000]}", pytrace=False)
    return found


def same_in_all_ways(root, make, act=fit, **options):
    """Do so with the fast path closed and open."""
    return same(root, make, act, ways=[way for way in WAYS if way != "without"], **options)


def briefly(trainer_of, module):
    """Train and validate on as few batches as show all: the first, another, and those of a second epoch."""
    trainer_of(num_sanity_val_steps=0).fit(module, loader(6), [loader(6), loader(2)])


def difference(expected, found):
    """Return where two reports differ first, and how; None if they are equal."""
    if expected == found:
        return None
    if isinstance(expected, dict) and isinstance(found, dict) and list(expected) == list(found):
        key = next(key for key in expected if expected[key] != found[key])
        return [key, *difference(expected[key], found[key])]
    if isinstance(expected, list) and isinstance(found, list) and expected and found:
        if len(expected) == len(found):
            index = next(index for index, one in enumerate(expected) if one != found[index])
            return [index, *difference(expected[index], found[index])]
        return [
            len(expected),
            len(found),
            *(
                [one for one in part if one not in other or part.count(one) != other.count(one)]
                for part, other in ((expected, found), (found, expected))
            ),
        ]
    return [expected, found]


def names(seen):
    """Return the names that were shown at any time."""
    return {name for _, kinds in seen["seen"] for metrics in kinds.values() for name, _ in metrics}
