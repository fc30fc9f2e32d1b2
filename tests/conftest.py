"""What holds for all tests."""

from __future__ import annotations

import importlib.util
import os
import random
import re
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.support import forking

TESTS = Path(__file__).parent
OPTIONAL = {
    "markdown_it", "matplotlib", "mlflow", "omegaconf", "playwright", "plotly", "polars", "rich", "scipy", "sklearn",
    "soundfile", "wandb",
}  # fmt: skip
"""Packages without which the tests that import them are skipped."""
NOT_QUICK = {
    "browser", "delivery", "gpu", "integration", "processes", "remote", "run",
    "logger/test_wandb_arguments.py",
    "routing/test_call_cache.py", "routing/test_reduction_handler.py", "media/test_figure.py", "media/test_heat_map.py",
    "media/test_histogram.py", "media/test_imports.py", "media/test_selection.py", "reducers/test_contract.py",
    "reducers/test_quantile.py", "reducers/test_series.py", "reducers/test_stream.py",
    "lightning_internals/test_contract.py", "lightning_internals/test_fast_path.py",
    "formats/test_flat_hparams.py", "formats/test_x_axis.py", "writers/test_csv.py", "writers/foreign/test_comet.py",
    "writers/foreign/test_mlflow.py", "writers/foreign/test_wandb.py",
}  # fmt: skip
"""Folders and files of tests that take long; all others are the quick part."""

collect_ignore = ["support"]

EXPLORE = "TRACKPLUS_EXPLORE" in os.environ
"""Whether a run draws other numbers than the last one did. By default a change is not blamed for a rare draw."""

# A slow machine is no failure.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not EXPLORE)
settings.load_profile("suite")


def _is_quick(path: Path) -> bool:
    inside = Path(os.path.relpath(path, TESTS))
    return not NOT_QUICK & {inside.parts[0], inside.as_posix()}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where the quick part alone is asked for, do not even import the others."""
    return True if config.option.markexpr == "quick" and not _is_quick(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick part."""
    for item in items:
        if _is_quick(item.path):
            item.add_marker("quick")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file that imports a package of the optional ones which is not there."""
    report = yield
    missing = report.failed and re.search(r"ModuleNotFoundError: No module named '(\w+)", str(report.longrepr))
    if missing and missing[1] in OPTIONAL and importlib.util.find_spec(missing[1]) is None:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {missing[1]} is not installed")
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Prepare what processes are forked from, when all is imported, nobody records warnings, and no test has run."""
    if hasattr(os, "fork"):
        forking.begin()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test write into the checkout."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(autouse=True)
def _the_same_numbers() -> None:
    """Begin each test with the same random numbers, whatever ran before it."""
    if not EXPLORE:
        torch.manual_seed(0)
        random.seed(0)
