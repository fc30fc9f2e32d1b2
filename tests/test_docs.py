"""Every block of Python in README and the documentation runs."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import lightning_trackplus
from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.conftest import LoggingModule, loader, quiet_trainer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- in a hook -->\n)?```python\n(.*?)```", re.DOTALL)


def blocks(path: Path) -> list[tuple[bool, str]]:
    """Return the blocks of a page: whether it stands in a hook, and the code at its own line numbers."""
    text = path.read_text()
    return [(bool(match[1]), "\n" * text[: match.start(2)].count("\n") + match[2]) for match in BLOCK.finditer(text)]


@pytest.mark.parametrize("path", [page for page in PAGES if blocks(page)], ids=lambda path: path.name)
def test_every_block_of_a_page_runs(path, tmp_path):
    """Blocks run in one namespace, those of a hook in a real validation step."""
    shared = {
        "functional": functional,
        **{name: getattr(lightning_trackplus, name) for name in lightning_trackplus.__all__},
    }
    for in_a_hook, code in blocks(path):
        compiled = compile(code, str(path), "exec")
        if in_a_hook:
            _run_in_a_hook(compiled, shared, tmp_path)
        else:
            exec(compiled, shared)


def _run_in_a_hook(code, shared, tmp_path):
    def step(module, batch, index):
        samples = torch.rand(len(batch))
        names = {"loss": samples, "error": samples, "loss_per_sample": samples, "captions": ["a"] * len(batch)}
        names |= {"images": torch.rand(len(batch), 1, 8, 8), "samples": torch.rand(800)}
        names |= {"logits": torch.rand(len(batch), 3), "targets": torch.arange(len(batch)) % 3}
        exec(code, {**shared, **names, "self": module})

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger())
    trainer.validate(LoggingModule(validation_step=step), loader(3), verbose=False)
    assert trainer.callback_metrics or list(tmp_path.rglob("media.csv"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(path):
    """Relative links and pictures point to files that are there."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_commands_of_readme_are_those_that_ci_runs():
    """``.ci/run`` runs README's test command as it stands there."""
    commands = re.findall(r"```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()


def test_the_layout_drawn_in_the_documentation_is_that_of_the_package():
    """Every room that the page names is there, and every file of the package's top floor is named."""
    text = textwrap.dedent((ROOT / "docs/how-it-works.md").read_text())
    package = ROOT / "lightning_trackplus"
    named = set(re.findall(r"\b(\w+\.py)\b", text))
    assert named <= {path.name for path in package.rglob("*.py")}
    assert {path.name for path in package.glob("*.py")} - named <= {"__init__.py"}
