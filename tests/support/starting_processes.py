"""A program whose Trainer forks or spawns its processes, and which logs before and behind that.

It is called with the strategy, the folder for its runs and, as it likes, ``before`` and ``validate``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.support.training import LoggingModule, loader, quiet_trainer


def log_loss(module, batch, index):
    module.log("loss", float(module.global_step))


def log_one(module, batch, index):
    module.log("validate", 1.0)


def main(strategy: str, root: str, *words: str) -> None:
    """Train in two processes, and leave where the run lies, and what was warned of."""
    logger = TrackPlusLogger(root)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if "before" in words:
            logger.log_metrics({"before": 1.0}, step=0)
        trainer = quiet_trainer(Path(root), callbacks=[TrackPlus()], logger=logger, strategy=strategy, devices=2)
        trainer.fit(LoggingModule(training_step=log_loss), loader(12), loader(2))
        if "validate" in words:
            trainer.validate(LoggingModule(validation_step=log_one), loader(12), verbose=False)
        logger.log_metrics({"after": 1.0}, step=99)
        logger.finalize("success")
    said = [str(one.message) for one in caught if "removed" in str(one.message)]
    Path(root, "said.json").write_text(json.dumps({"log_dir": logger.log_dir, "warnings": said}))


if __name__ == "__main__":
    main(*sys.argv[1:])
