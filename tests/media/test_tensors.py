"""Copies of tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.media.tensors import snapshot_tensor

DTYPES = [
    *(torch.uint8, torch.bool, torch.int16, torch.int64, torch.uint32),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.complex64),
]


@settings(max_examples=100)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 9), max_size=4),
    order=st.permutations(range(4)),
    step=st.sampled_from([1, 2]),
)
def test_a_copy_is_equal_and_its_own(dtype, shape, order, step):
    """A copy has the values of any tensor, and later changes of the tensor do not reach it."""
    tensor = torch.randint(0, 2, shape).to(dtype).permute([axis for axis in order if axis < len(shape)])
    tensor = tensor[..., ::step] if shape else tensor
    expected = tensor.clone()

    copy = snapshot_tensor(tensor)
    tensor.zero_()

    assert (copy.dtype, copy.shape) == (expected.dtype, expected.shape)
    assert torch.equal(copy.cfloat(), expected.cfloat())


def test_a_copy_lies_in_memory_as_the_tensor_does():
    """Channels that come last in memory stay there, so that no pixel has to be moved."""
    tensor = torch.zeros(2, 3, 5, 6).contiguous(memory_format=torch.channels_last)

    assert snapshot_tensor(tensor).stride() == tensor.stride()


@pytest.mark.parametrize("lazy", ["conj", "neg"])
def test_a_copy_of_a_tensor_that_torch_reads_otherwise_has_its_values(lazy):
    """Torch keeps the bits of a conjugate, and of its imaginary part, and turns their sign when it reads them."""
    conjugate = torch.complex(torch.ones(3), torch.arange(3.0)).conj()
    tensor = conjugate if lazy == "conj" else conjugate.imag

    assert torch.equal(snapshot_tensor(tensor), tensor)


def test_a_copy_of_an_expanded_tensor_has_all_of_it():
    """Where elements share memory in the tensor, they do not in the copy."""
    copy = snapshot_tensor(torch.arange(3.0).expand(5, 3))
    copy[0, 0] = 7

    assert copy[1:].unique(dim=0).tolist() == [[0.0, 1.0, 2.0]]
