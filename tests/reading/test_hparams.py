"""The hyper-parameters of a run, read back from its YAML files."""

from __future__ import annotations

import pytest

from lightning_trackplus.reading.hparams import read_hparams


def test_nested_and_python_objects_are_flat(tmp_path):
    """What stands behind Python's tags is read like any other mapping, at any depth, and is not created."""
    (tmp_path / "hparams.yaml").write_text(
        "plain: 0.1\n"
        "model: !!python/object:missing.Model\n"
        "  sizes: {first: 8, last: [1, 2]}\n"
        "layer: !!python/object:missing.Layer {width: {deep: {deeper: 3}}}\n"
        "function: !!python/name:torch.nn.ReLU ''\n"
    )
    (tmp_path / "config.yaml").write_text("seed_everything: 7\ntrainer: {max_epochs: 2}\n")
    assert read_hparams(tmp_path) == {
        "seed_everything": 7,
        "plain": 0.1,
        "model/sizes/first": 8,
        "model/sizes/last": "[1, 2]",
        "layer/width/deep/deeper": 3,
        "function": "torch.nn.ReLU",
    }


def test_what_cannot_be_read_is_said(tmp_path):
    """The other file is read."""
    (tmp_path / "hparams.yaml").write_text("{")
    (tmp_path / "config.yaml").write_text("seed_everything: 7\n")
    with pytest.warns(UserWarning, match=r"hparams\.yaml cannot be read, and is left out: "):
        assert read_hparams(tmp_path) == {"seed_everything": 7}


def test_a_run_without_files_has_none(tmp_path):
    assert read_hparams(tmp_path) == {}
