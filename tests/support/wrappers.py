"""What somebody, or the next Lightning, can put around a method."""

from __future__ import annotations

import functools

import torch


def named(function):
    """Wrap a function as ``functools.wraps`` does it."""
    return functools.wraps(function)(unnamed(function))


def unnamed(function):
    """Wrap a function so that nothing says what is wrapped."""
    return lambda *args, **kwargs: function(*args, **kwargs)


WRAPPERS = [torch.compiler.disable, named, unnamed]
