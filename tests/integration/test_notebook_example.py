"""The example notebook, executed by Jupyter's own client."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
from tensorboard import manager

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("jinja2")

NOTEBOOK = Path(__file__).parents[2] / "examples/digits.ipynb"


@pytest.fixture
def kernel_folder(tmp_path, monkeypatch):
    """Give the kernel a folder, and stop the TensorBoard that ``%tensorboard`` starts, which outlives the kernel."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # There, a TensorBoard leaves a note of its port and process.
    monkeypatch.setenv("TENSORBOARD_BINARY", str(Path(sys.executable).with_name("tensorboard")))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    for server in manager.get_all():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)


def html_of(cell):
    """Return the HTML that a cell shows."""
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in cell.outputs)


def test_every_cell_shows_what_it_says(kernel_folder):
    """It is committed without outputs, runs from the top, and TensorBoard serves the run that was logged."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = {cell.source.splitlines()[0]: cell for cell in notebook.cells if cell.cell_type == "code"}
    assert not any(cell.outputs for cell in cells.values())
    pages = []

    def visit(cell, cell_index, execute_reply):
        if cell.source.startswith("%load_ext tensorboard"):
            (server,) = manager.get_all()
            with urllib.request.urlopen(f"http://localhost:{server.port}/data/plugin/scalars/tags") as reply:
                pages.append(json.load(reply))

    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(kernel_folder)}}, on_cell_executed=visit
    )
    client.execute()
    (tags,) = pages
    assert "val/loss_p95" in tags["version_0"]
    assert "<iframe" in html_of(cells["%load_ext tensorboard"])
    images = html_of(cells["import contextlib"])
    assert images.count("data:image/png") == 10
    shown = html_of(cells["run = read_run(logger.log_dir)"])
    assert re.search(r">val/loss_p95</td><td><span>[\d.]+</span> <small>at 91</small>", shown)
    assert len(re.findall(r"<small>score ", shown)) == 8
    assert "<audio" in html_of(cells["seconds = torch.arange(8000) / 8000"])
    assert "Quantile(q=0.95)" in html_of(cells["seconds = torch.arange(8000) / 8000"])
    watched = html_of(cells['second = TrackPlusLogger("runs", name="digits", flush_secs=0.2)'])
    assert "version_1</b> finished" in watched
    page = html_of(cells["report([logger.log_dir, directory])"])
    assert page.startswith("<iframe sandbox=")
    assert "They differ in &lt;b&gt;learning_rate&lt;/b&gt;" in page
    assert len(page) < 8e6
