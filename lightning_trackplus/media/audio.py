"""Sounds."""

from __future__ import annotations

import io
import warnings
import wave
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from lightning_trackplus.media.media import Media
from lightning_trackplus.record import Sounds

OneSound: TypeAlias = "Tensor | np.ndarray[Any, Any]"

_LOUDEST = 32767
_CHANNELS = (1, 2)
# A WAV says in 32 bits how many bytes a second has, of which stereo has four a sample.
_HIGHEST_RATE = 2**30


class Sound(NamedTuple):
    """One sound of a batch; sounds of several rates can stand in one batch.

    Attributes:
        samples: int16 or float in [-1, 1], shape (C, T).
        sample_rate: Samples a second.
    """

    samples: Tensor
    sample_rate: int


class Audio(Media[Sound]):
    """One sound or a batch of them, written as 16-bit WAV and played in TensorBoard's audio tab.

    Args:
        samples: A tensor or an array of shape ``(T,)``, ``(C, T)`` or ``(T, C)``, a batch ``(N, C, T)``,
            ``(N, T, C)`` or ``(N, T)``, or a list of sounds. C is 1 (mono) or 2 (stereo), and two
            dimensions of which one is 1 or 2 are one sound. The dtype is int16, or any float in [-1, 1].
        sample_rate: Samples a second, in hertz.
        caption: A line about the sound, or a list with one for each.
        score: A number for the sound, or one for each, shape ``(N,)``.

    Raises:
        ValueError: If the shape, the dtype or the sample rate is none of these, or there is another
            number of captions or scores than of sounds.
        TypeError: If a sound is neither a tensor nor an array.

    Examples:
        >>> import torch
        >>> Audio(torch.sin(torch.arange(8000) * 0.3), sample_rate=8000)
        <Audio: 1 item>
    """

    def __init__(
        self,
        samples: OneSound | Sequence[OneSound],
        sample_rate: int,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        is_whole = isinstance(sample_rate, Integral) and not isinstance(sample_rate, bool)
        if not is_whole or not 1 <= sample_rate < _HIGHEST_RATE:
            raise ValueError(
                f"Audio got the sample rate {sample_rate!r}; give samples a second as a whole number, such as 16000."
            )
        several: Sequence[OneSound] = samples if isinstance(samples, list | tuple) else [cast("OneSound", samples)]
        sounds = [Sound(samples, int(sample_rate)) for one in several for samples in _split(one)]
        super().__init__(sounds, caption, score)

    @property
    def nbytes(self) -> int:
        """Memory that the samples hold, in bytes."""
        return sum(sound.samples.nbytes for sound in self._items)

    def encode(self, name: str) -> Sounds:
        """Return the sounds as WAV.

        Args:
            name: The name they were logged under, for warnings.
        """
        files = [_wav(_to_int16(sound.samples.cpu(), name), sound.sample_rate) for sound in self._items]
        return Sounds(self._encoded(files, ".wav"))

    def _snapshot_of(self, item: Sound) -> Sound:
        return Sound(item.samples.clone(), item.sample_rate)


def _split(sound: OneSound) -> tuple[Tensor, ...]:
    """Return the sounds of shape (C, T) in a tensor of any shape that `Audio` takes."""
    if not isinstance(sound, Tensor | np.ndarray):
        raise TypeError(f"Audio got a {type(sound).__name__}; give a tensor, an array, or a list of them.")
    samples = sound.detach() if isinstance(sound, Tensor) else torch.from_numpy(np.array(sound))
    if samples.dtype != torch.int16 and not samples.is_floating_point():
        raise ValueError(f"Audio got samples of {samples.dtype}; give int16, or floats in [-1, 1].")
    shape = tuple(samples.shape)
    batch = None
    if samples.ndim == 1:
        batch = samples[None, None]
    elif samples.ndim == 2:
        channels = _channels_dim(shape, (0, 1))
        batch = samples[:, None] if channels is None else samples.movedim(channels, 0)[None]
    elif samples.ndim == 3 and (channels := _channels_dim(shape, (1, 2))) is not None:
        batch = samples.movedim(channels, 1)
    if batch is None or not batch.numel():
        raise ValueError(
            f"Audio got samples of shape {shape}; give (T,), (C, T) or (T, C), or a batch of these with the batch"
            " first. C is 1 or 2, and no dimension is 0."
        )
    return batch.unbind()


def _channels_dim(shape: tuple[int, ...], candidates: tuple[int, int]) -> int | None:
    return next((dim for dim in candidates if shape[dim] in _CHANNELS), None)


def _to_int16(sound: Tensor, name: str) -> Tensor:
    if sound.dtype == torch.int16:
        return sound
    samples = sound.double().nan_to_num(nan=0.0)
    if strange := int((sound.isnan() | (samples.abs() > 1)).sum()):
        warnings.warn(
            f"Audio {name!r}: {strange} samples lie outside [-1, 1] or are NaN; they are clipped, NaN is silence.",
            stacklevel=2,
        )
    return (samples.clamp(-1, 1) * _LOUDEST).round().to(torch.int16)


def _wav(sound: Tensor, sample_rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(sound.shape[0])
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(sound.T.contiguous().numpy().astype("<i2").tobytes())
    return file.getvalue()
