"""What media load of the packages whose values they may be, in a new interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys

packages = {"matplotlib", "matplotlib.pyplot", "plotly", "pandas", "polars"}
loaded = lambda: sorted(packages & set(sys.modules))
said = {"before": loaded()}

from lightning_trackplus.media.figure import Figure, is_figure
is_figure(5)
said["a figure is asked for"] = loaded()

from lightning_trackplus.media.heat_map import HeatMap
HeatMap([[1, 2]]).encode("x")
said["a heat map is drawn"] = loaded()

from lightning_trackplus.media.table import Table
Table({"a": [1]}).encode("worst")
said["a table is written"] = loaded()

import matplotlib.figure
Figure(matplotlib.figure.Figure()).snapshot().encode("x")
said["a figure is drawn"] = loaded()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    """Return what an interpreter says of what it has loaded, from one step to the next."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ["a figure is asked for", "a heat map is drawn", "a table is written"])
def test_no_package_is_loaded_for_what_is_not_its_own(said, what):
    """To ask whether something is a figure, and to draw maps and write tables, takes none of them."""
    assert said[what] == said["before"] == []


def test_a_figure_that_was_made_without_pyplot_is_drawn_without_it(said):
    """Of matplotlib, its figures alone are loaded, and plotly is not."""
    assert said["a figure is drawn"] == ["matplotlib"]
