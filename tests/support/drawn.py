"""Values that tests draw."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

TENSORS = st.builds(
    lambda number, dtype, shape: torch.tensor(number).to(dtype).reshape(shape),
    st.integers(0, 100) | st.floats(-1e4, 1e4),
    st.sampled_from(
        [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
    ),
    st.sampled_from([(), (), (), (1,)]),
)
VALUES = st.one_of(st.floats(), st.integers(-(2**40), 2**40), st.booleans(), TENSORS)
