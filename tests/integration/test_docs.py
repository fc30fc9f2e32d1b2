"""Every block of Python in README and the documentation runs, and its tables are complete."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure
import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers.registry import ALIASES, REDUCERS, reducers_of
from tests.support.training import LoggingModule, loader, quiet_trainer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (in a hook)?(?:, )?(continues)? -->\n)?```python\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A block of Python: its code at its own line numbers, and what the comment before it says."""

    code: str
    is_in_a_hook: bool
    continues: bool


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block("\n" * text[: match.start(3)].count("\n") + match[3], bool(match[1]), bool(match[2]))
        for match in BLOCK.finditer(text)
    ]


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    """Trainers of the pages train on a few batches."""
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "4")
    monkeypatch.setenv("PL_TRAINER_LIMIT_VAL_BATCHES", "2")
    monkeypatch.setenv("PL_TRAINER_ENABLE_PROGRESS_BAR", "0")


@pytest.mark.parametrize("path", [page for page in PAGES if blocks(page)], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_page_runs_when_it_is_pasted(path, tmp_path):
    """Each block runs in an empty namespace, those of a hook in a real validation step that has a batch.

    A block that continues the ones above it, which its comment says, has their names too.
    """
    above = {}
    for code, is_in_a_hook, continues in blocks(path):
        if code.strip() == first_script():
            continue  # The test below runs it, once for both pages.
        namespace = {**above} if continues else {}
        compiled = compile(code, str(path), "exec")
        if is_in_a_hook:
            _run_in_a_hook(compiled, namespace, tmp_path)
        else:
            exec(compiled, namespace)
        above |= namespace


def _run_in_a_hook(code, namespace, tmp_path):
    def step(module, batch, index):
        samples = torch.rand(len(batch))
        names = {"loss": samples, "error": samples, "loss_per_sample": samples, "captions": ["a"] * len(batch)}
        names |= {"images": torch.rand(len(batch), 1, 8, 8), "samples": torch.rand(800)}
        names |= {"logits": torch.rand(len(batch), 3), "targets": torch.arange(len(batch)) % 3}
        names |= {"token_losses": torch.rand(len(batch), 5), "mask": torch.ones(len(batch), 5).bool()}
        names |= {"recall": torch.rand(3), "matrix": torch.eye(3), "class_names": ["a", "b", "c"]}
        names |= {"frames": torch.rand(4, 3, 8, 8), "figure": matplotlib.figure.Figure()}
        module.confusion_matrix = MulticlassConfusionMatrix(3)
        module.confusion_matrix.update(names["targets"], names["targets"])
        module.metrics = MetricCollection([MulticlassAccuracy(3), MulticlassConfusionMatrix(3)])
        module.metrics.update(names["targets"], names["targets"])
        namespace.update(names, self=module)
        exec(code, namespace)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger())
    trainer.validate(LoggingModule(validation_step=step), loader(3), verbose=False)
    assert trainer.callback_metrics or list(tmp_path.rglob("media.csv"))


def first_run(page: Path) -> str:
    return page.read_text().partition("## First run\n")[2].partition("\n## ")[0]


def first_script() -> str:
    return re.search(r"```python\n(.*?)```", first_run(ROOT / "README.md"), flags=re.DOTALL)[1].strip()


def test_readme_and_documentation_have_the_same_first_run():
    """Only links differ: those of README start at the root of the repository."""
    assert first_run(ROOT / "README.md").replace("](docs/", "](") == first_run(ROOT / "docs/index.md")


def test_the_first_run_leaves_the_files_that_readme_draws(tmp_path, monkeypatch):
    """Each path of the drawing is there, and nothing else."""
    monkeypatch.chdir(tmp_path)
    exec(first_script(), {})
    drawn = {row.replace("…", "*") for row in re.findall(r"── (\S+)", first_run(ROOT / "README.md"))}
    run = tmp_path / "lightning_logs/version_0"
    found = {pattern: set(run.glob(pattern)) for pattern in drawn}
    assert all(found.values()), found
    files = {path for path in run.rglob("*") if path.is_file()}
    assert files == set.union(*found.values())
    assert "val/loss_p95" in (run / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
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
    named = set(re.findall(r"(?<!benchmarks/)\b(\w+\.py)\b", text))
    assert named <= {path.name for path in package.rglob("*.py")}
    assert {path.name for path in package.glob("*.py")} - named <= {"__init__.py"}


def reducer_rows():
    """Return, for each row of the table of all reducers, the names in its first column and the class in its second."""
    table = (ROOT / "docs/reducers.md").read_text().partition("## All reducers")[2]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", names), made) for names, made in rows]


def test_the_table_of_reducers_names_every_one_of_them():
    """No name is missing, and none is there that `reduce_fx` does not take."""
    named = {name for names, _ in reducer_rows() for name in names}
    known = {*REDUCERS, *ALIASES}
    assert known <= named
    assert all(reducers_of(name)[0].name == name for name in named - known)


@pytest.mark.parametrize(("names", "made"), reducer_rows(), ids=lambda cell: cell[0] if isinstance(cell, list) else "")
def test_the_table_of_reducers_has_their_classes(names, made):
    """All names of a row belong to the class of the row, which has the arguments that stand there."""
    known = [ALIASES.get(name, name) for name in names if name in REDUCERS or name in ALIASES]
    assert len(set(known)) == 1
    make = REDUCERS[known[0]]
    if isinstance(make, functools.partial):
        assert made.strip() == f"`{make.func.__name__}({make.args[0]})`"
        return
    reducer = make if inspect.isclass(make) else type(reducers_of(known[0])[0])
    parameters = [one for one in inspect.signature(reducer).parameters.values() if one.name != "nan_policy"]
    given = [one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in parameters]
    assert made.strip().replace('"', "'") == f"`{reducer.__name__}({', '.join(given)})`"
