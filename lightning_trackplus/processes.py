"""What processes tell each other."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from torch import distributed

T = TypeVar("T")

Group: TypeAlias = Any
"""A `torch.distributed.ProcessGroup`, or None for all; torch builds without distributed have no such name."""


def are_several() -> bool:
    """Return whether this process runs among others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gathered(mine: T, group: Group = None) -> list[T]:
    """Return what each process of a group gives, in the order of their ranks, by two collectives.

    Args:
        mine: What this process gives; it has to be picklable.
        group: The group; all processes if None.
    """
    everyone: list[T] = [mine] * distributed.get_world_size(group)
    distributed.all_gather_object(everyone, mine, group=group)
    return everyone


def members(group: Group) -> tuple[int, ...]:
    """Return the ranks of a group; none if this process is not among them.

    Args:
        group: The group; all processes if None.
    """
    if group is None:
        return tuple(range(count()))
    return (
        () if group is distributed.GroupMember.NON_GROUP_MEMBER else tuple(distributed.get_process_group_ranks(group))
    )


def count() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if are_several() else 1


def rank() -> int:
    """Return which of the processes this one is."""
    return distributed.get_rank() if are_several() else 0
