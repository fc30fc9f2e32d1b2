"""What processes tell each other comes through whole, whatever its length."""

from __future__ import annotations

import pytest
import torch

from lightning_trackplus.runtime import distributed


@pytest.fixture
def _a_group_of_one():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_a_group_of_one")
def test_what_just_fits_into_the_first_message_and_what_does_not():
    """Messages around 64 KiB, from those that need one collective to those that need a second."""
    for length in range(65_536 - 64, 65_536 + 2):
        value = bytes([length % 251]) * length
        assert distributed.all_gather_object(value) == [value]
