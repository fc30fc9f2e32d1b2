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


def made(function):
    """Wrap a function in code that is of no module, as the package ``decorator`` does it."""
    space = {"function": function}
    exec("def made(*args, **kwargs):\n    return function(*args, **kwargs)", space)
    return space["made"]


WRAPPERS = [torch.compiler.disable, named, unnamed]
