"""Programs, which tests run as a person does: in a process of their own, or as if in one."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 280
"""Seconds after which a program hangs; below the limit of a test, so that what the program said is seen."""


def run_program(program: str | Path, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program with this Python, which finds the package and the tests, and return what it said.

    One of several processes is run once, as Lightning starts it: the others are children of the first.
    """
    return run_python(CHECKOUT / program, *arguments, cwd=cwd)


def run_python(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this Python with words of a command line, and return what it said; it finds the package and the tests."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def imported_example(name: str) -> ModuleType:
    """Return one of the examples as a module."""
    with patch.object(sys, "path", [str(CHECKOUT / "examples"), *sys.path]):
        return importlib.import_module(name)


@contextlib.contextmanager
def as_a_program(*arguments: object, folder: Path) -> Iterator[None]:
    """Let what is called run as a program with these arguments, started in a folder.

    Afterwards this process has the arguments, folder, environment, warnings and random numbers that it had.
    """
    of_python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    before = Path.cwd()
    with (
        patch.object(sys, "argv", ["program.py", *map(str, arguments)]),
        patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
            torch.set_rng_state(of_torch)
