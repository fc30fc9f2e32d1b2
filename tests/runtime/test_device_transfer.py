"""Values on their way from a device, on a machine that may have none."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lightning_trackplus.reducers.pending_calls import Call, PendingCalls, call_of
from lightning_trackplus.runtime.device_transfer import HostCopy


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/gpu shows it on the device itself")
def test_values_on_a_device_are_taken_and_sent_without_being_read():
    """A fake tensor has no numbers: whatever asks for one, and would wait for it on a device, raises."""
    with FakeTensorMode():
        scalar, vector = torch.empty((), device="cuda"), torch.empty(64, device="cuda")
        calls = [call_of(value, 1.0, 1, step) for step in range(100) for value in (scalar, vector)]
        assert PendingCalls(calls).has_arrived()
        with pytest.raises(DataDependentOutputException):
            scalar.item()


def test_a_copy_holds_what_the_tensor_held():
    """On the host it is the same numbers, at once."""
    copied = HostCopy(torch.arange(3.0))
    assert copied.has_arrived()
    assert copied.wait().tolist() == [0.0, 1.0, 2.0]


def test_values_of_several_dtypes_are_not_rounded_to_one():
    """Pieces are sent by dtype, since torch would join long integers and halves to halves."""
    values = [torch.tensor([70001]), torch.tensor([0.5], dtype=torch.float16), torch.tensor([2**24 + 1])]
    once, _ = PendingCalls([Call(value, 1.0, 1, step) for step, value in enumerate(values)]).samples()
    assert once.values.tolist() == [70001.0, 0.5, 2**24 + 1]
