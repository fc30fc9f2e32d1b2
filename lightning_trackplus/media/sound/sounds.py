"""Sounds in any form, as tensors of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from lightning_trackplus.media.arrays import is_float, readable
from lightning_trackplus.media.sound import sound_files
from lightning_trackplus.media.sound.pcm import INTEGERS

OneSound: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str]"

_CHANNELS = (1, 2)
# A WAV says in 32 bits how many bytes a second has, of which stereo has four a sample.
_HIGHEST_RATE = 2**30 - 1


def sounds_of(sound: OneSound, sample_rate: int | None) -> Iterator[tuple[Tensor, int]]:
    """Yield the sounds that one value stands for, of shape ``(C, T)``, and their sample rates.

    Those of a tensor or an array are views of it.

    Args:
        sound: Whatever `Audio` takes, but for a list.
        sample_rate: Samples a second; a file has its own.

    Raises:
        ValueError: If it has a shape, a dtype or a sample rate that sounds have not.
        TypeError: If it is of another type.
        FileNotFoundError: If a path leads nowhere.
        ImportError: If a file needs soundfile, and that is not installed.
    """
    match sound:
        case str() | os.PathLike():
            samples, rate = sound_files.read(sound)
            if samples.shape[0] not in _CHANNELS or not samples.numel():
                raise ValueError(
                    f"Audio got the file {os.fspath(sound)!r} with {samples.shape[0]} channels of {samples.shape[1]}"
                    " samples; give a file of 1 or 2 channels that is not empty."
                )
            yield samples, rate
        case Tensor() | np.ndarray():
            rate = _checked_rate(sample_rate)
            yield from ((samples, rate) for samples in _split(sound))
        case _:
            raise TypeError(f"Audio got a {type(sound).__name__}; give a tensor, an array, a path, or a list of them.")


def _checked_rate(sample_rate: int | None) -> int:
    if isinstance(sample_rate, Integral) and not isinstance(sample_rate, bool) and 1 <= sample_rate <= _HIGHEST_RATE:
        return int(sample_rate)
    raise ValueError(
        f"Audio got the sample rate {sample_rate!r}; give samples a second as a whole number, such as 16000."
    )


def _split(sound: Tensor | np.ndarray[Any, Any]) -> tuple[Tensor, ...]:
    """Return the sounds of shape (C, T) in a tensor of any shape that `Audio` takes."""
    samples = _tensor(sound)
    shape = tuple(samples.shape)
    if samples.numel():
        if samples.ndim == 1:
            return (samples.unsqueeze(0),)
        if samples.ndim == 2:
            if (channels := _channels_dim(shape, (0, 1))) is not None:
                return (samples if channels == 0 else samples.T,)
            return samples.unsqueeze(1).unbind()
        if samples.ndim == 3 and (channels := _channels_dim(shape, (1, 2))) is not None:
            return (samples if channels == 1 else samples.mT).unbind()
    raise ValueError(
        f"Audio got samples of shape {shape}; give (T,), (C, T) or (T, C), or a batch of these with the batch first. C"
        " is 1 or 2, and no dimension is 0."
    )


def _tensor(sound: Tensor | np.ndarray[Any, Any]) -> Tensor:
    samples = readable(sound, "Audio")
    if samples is None or not (samples.dtype in INTEGERS or is_float(samples.dtype)):
        raise ValueError(
            f"Audio got samples of {str(sound.dtype).removeprefix('torch.')}; give int16 or int32 of full scale, uint8"
            " around 128, or floats in [-1, 1]."
        )
    return samples


def _channels_dim(shape: tuple[int, ...], candidates: tuple[int, int]) -> int | None:
    return next((dim for dim in candidates if shape[dim] in _CHANNELS), None)
