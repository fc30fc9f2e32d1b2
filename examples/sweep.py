"""Train on the digits with two learning rates, each with three seeds, and compare the six runs.

Everything but the learning rate and the seed is as in ``examples/digits.yaml``::

    python examples/sweep.py

It ends with a report in which the three runs of a learning rate are one line with a band.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from digits import DigitNet, Digits
from lightning.pytorch.cli import LightningCLI

from lightning_trackplus import report

CONFIG = Path(__file__).with_name("digits.yaml")


def main(options: Sequence[str] = ()) -> None:
    """Train six times, and write the report.

    Args:
        options: More options of LightningCLI for each run.
    """
    runs = []
    for learning_rate, seed in itertools.product([0.001, 0.01], [1, 2, 3]):
        changes = [f"--seed_everything={seed}", f"--model.learning_rate={learning_rate}", "--trainer.logger.name=sweep"]
        cli = LightningCLI(DigitNet, Digits, args=["fit", f"--config={CONFIG}", *changes, *options])
        runs.append(os.path.relpath(cli.trainer.logger.log_dir))
    path = report(runs, "sweep.html", group_by="learning_rate")
    print(f"The report is {path}. See the mean over the seeds with:")
    print(f"trackplus compare {' '.join(runs)} --by seed_everything")


if __name__ == "__main__":
    main()
