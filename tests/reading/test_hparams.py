"""The hyper-parameters of a run, read back from its YAML files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_trackplus.reading.hparams import read_hparams
from tests.flavour.pytorch.loggers import CSVLogger


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


def test_numbers_of_numpy_and_paths_are_what_they_stand_for(tmp_path):
    """A sweep over ``np.logspace`` logs numbers of numpy, which Lightning writes as calls of Python with bytes."""
    logger = CSVLogger(tmp_path, name="", version="run")
    rates = np.logspace(-3, -1, 3)
    scalars = {"half": np.float16(0.5), "count": np.int32(-7), "flag": np.True_, "big": np.uint64(2**64 - 1)}
    paths = {"relative": Path("data/train"), "absolute": Path("/data"), "here": Path()}
    logger.log_hyperparams({"rate": rates[1], "again": rates[1], **scalars, **paths})
    logger.save()
    assert "multiarray.scalar" in (tmp_path / "run/hparams.yaml").read_text()
    assert read_hparams(tmp_path / "run") == {
        "rate": 0.01,
        "again": 0.01,
        "half": 0.5,
        "count": -7,
        "flag": True,
        "big": 2**64 - 1,
        "relative": "data/train",
        "absolute": "/data",
        "here": ".",
    }


def test_tensors_are_their_shapes(tmp_path):
    """Lightning writes the bytes of a pickle, which differ for equal tensors."""
    for name in ("one", "two"):
        logger = CSVLogger(tmp_path, name="", version=name)
        logger.log_hyperparams({"weight": torch.ones(3), "scale": torch.tensor(0.5)})
        logger.save()
        found = read_hparams(tmp_path / name)
        assert found == {"weight": "Tensor of shape (3,)", "scale": "Tensor of shape ()"}


@pytest.mark.parametrize(("dtype", "data"), [("O8", "AAAA"), ("nonsense", "AAAA"), ("f8", "AAAA"), ("f8", '""')])
def test_a_damaged_number_of_numpy_costs_itself_alone(dtype, data, tmp_path):
    (tmp_path / "hparams.yaml").write_text(
        "rate: !!python/object/apply:numpy._core.multiarray.scalar\n"
        f"- !!python/object/apply:numpy.dtype {{args: [{dtype}, false, true]}}\n"
        f"- !!binary {data}\n"
        "plain: 0.1\n"
    )
    found = read_hparams(tmp_path)
    assert found["plain"] == 0.1
    assert dtype in found["rate"]
