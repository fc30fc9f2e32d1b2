"""What the tests of two processes share: one run whose reports all of them read."""

from __future__ import annotations

import json

import pytest

from tests.support.forking import two_ranks
from tests.support.ranks import run_parts


@pytest.fixture(scope="session")
def ranks_folder(tmp_path_factory):
    """Let two processes do all their parts, once, and return the folder in which they have left their reports."""
    folder = tmp_path_factory.mktemp("ranks")
    for rank in two_ranks(run_parts, folder):
        list(rank.rest())
        rank.join()
    return folder


@pytest.fixture(scope="session")
def reports(ranks_folder):
    """Return what both processes saw in each part."""
    return {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in ranks_folder.glob("*.json")}


@pytest.fixture(scope="session")
def both_ranks(reports):
    """Return a function that returns what both processes saw in a part."""

    def of(part):
        for rank in range(2):
            assert f"{part}{rank}" in reports, "an earlier part has failed"
            assert "error" not in reports[f"{part}{rank}"], reports[f"{part}{rank}"]["error"]
        return [reports[f"{part}{rank}"] for rank in range(2)]

    return of
