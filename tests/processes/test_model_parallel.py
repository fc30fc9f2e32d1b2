"""Two processes whose parameters are sharded have the results of all samples, also after a resume in mid-epoch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightning_trackplus import read_run
from tests.support.forking import two_ranks
from tests.support.model_parallel import shard
from tests.support.training import goes_on_exactly


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder, and the metrics of both processes, of the whole run and of the resumed one."""
    if not hasattr(pytest.importorskip("torch.distributed.fsdp"), "fully_shard"):
        pytest.skip("this torch has no fully_shard")
    root = tmp_path_factory.mktemp("sharded")
    ranks = two_ranks(shard, root)
    reports = [json.loads(next(rank.rest())) for rank in ranks]
    assert [rank.join() for rank in ranks] == [0, 0]
    return root, reports


def test_results_are_those_of_all_samples(run):
    """In both processes, and with a reducer that the module has."""
    x = np.arange(16.0)
    for whole, _ in run[1]:
        assert whole["val_median"] == np.median(x)
        assert whole["val_count"] == whole["train_count"] == 16
        assert whole["train_p95"] == whole["own"] == pytest.approx(np.quantile(x, 0.95))


@goes_on_exactly
def test_a_resume_in_mid_epoch_changes_nothing(run):
    """The checkpoint is sharded, and has the values of both processes."""
    root, reports = run
    assert (root / "step=2.ckpt").is_dir()
    for whole, resumed in reports:
        assert resumed == pytest.approx(whole)


def test_media_are_selected_from_both_processes(run):
    """The three highest scores."""
    assert [one.caption for one in read_run(run[0] / "whole").media] == ["15", "14", "13"]
