"""Sounds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import numpy as np
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media import audio_files
from lightning_trackplus.media.audio_files import INTEGERS, Pcm
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.tensors import is_float, readable, snapshot_tensor
from lightning_trackplus.record import AudioPayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type, check_choice

SoundFormat: TypeAlias = Literal["wav", "flac"]

# RFC 9639, section 9.1.2: in hertz in 16 bits, or in tens of hertz.
_HIGHEST_FLAC_RATE = 2**16 - 1


class Sound(NamedTuple):
    """One sound of a batch, which may have sounds of several rates and formats.

    Attributes:
        samples: uint8, int16, int32 or float in [-1, 1], shape (C, T).
        sample_rate: Samples per second.
        format: The format of its file.
    """

    samples: Tensor
    sample_rate: int
    format: SoundFormat


class Audio(Media[Sound]):
    """One sound or a batch of them, written with 16 bits per sample and played in TensorBoard's audio tab.

    Args:
        samples: A tensor or an array of shape ``(T,)``, ``(C, T)`` or ``(T, C)``, a batch ``(N, C, T)``,
            ``(N, T, C)`` or ``(N, T)``, a path of a sound file, or a list of sounds. C is 1 (mono) or 2
            (stereo), and two dimensions of which one is 1 or 2 are one sound. The dtype is int16 or
            int32 of full scale, uint8 around 128 as WAV files have it, or any float in [-1, 1].
            Files other than WAV of plain integers, such as FLAC, OGG and MP3, need soundfile.
        sample_rate: Samples per second; that of a file is in the file.
        caption: A line about the sound, or a list with one for each.
        score: A number for the sound, or one for each, shape ``(N,)``.
        format: ``"wav"``, or ``"flac"``, which takes about two thirds of the space and needs soundfile, the
            extra ``audio``.

    Raises:
        ValueError: If the shape, the dtype or the sample rate is not one of these, a file is not a sound, or
            there is not one caption or score for each sound.
        TypeError: If a sound is of another type.
        FileNotFoundError: If there is no file at a path.
        ImportError: If soundfile is needed and not installed.

    Examples:
        >>> import torch
        >>> Audio(torch.sin(torch.arange(8000) * 0.3), sample_rate=8000)
        <Audio: 1 item>
    """

    def __init__(
        self,
        samples: OneSound | Sequence[OneSound],
        sample_rate: int | None = None,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
        *,
        format: SoundFormat = "wav",  # noqa: A002  as W&B calls it
    ) -> None:
        check_choice("Audio", "format", format, get_args(SoundFormat))
        if format == "flac":
            audio_files.soundfile('Audio(…, format="flac")')
        several: Sequence[OneSound] = samples if is_list(samples) else [cast("OneSound", samples)]
        sounds = [Sound(one, rate, format) for given in several for one, rate in sounds_of(given, sample_rate)]
        for sound in sounds:
            _check_file(sound)
        super().__init__(sounds, caption, score)

    @property
    @override
    def nbytes(self) -> int:
        """Memory of the samples in bytes."""
        return sum(sound.samples.nbytes for sound in self._items)

    @override
    def encode(self, name: str) -> AudioPayload:
        """Return the sounds as files."""
        sounds = [(Pcm(sound.samples), sound) for sound in self._items]
        files = [_file(pcm, sound) for pcm, sound in sounds]
        self._warn(name, sum(pcm.clipped for pcm, _ in sounds), "samples lie outside [-1, 1] and are clipped")
        self._warn(name, sum(pcm.missing for pcm, _ in sounds), "samples are NaN and silent")
        return AudioPayload(self._encoded(files, [f".{sound.format}" for sound in self._items]))

    @override
    def snapshot_item(self, item: Sound) -> Sound:
        return item._replace(samples=snapshot_tensor(item.samples))


def _check_file(sound: Sound) -> None:
    """Raise if a sound does not fit into a file of its format."""
    rate, size = sound.sample_rate, 2 * sound.samples.numel()
    if sound.format == "wav" and size > audio_files.LARGEST_WAV:
        raise ValueError(
            f"Audio got a sound of {size} bytes, and a WAV holds at most {audio_files.LARGEST_WAV}; expected a shorter"
            ' one, or format="flac".'
        )
    if sound.format == "flac" and rate > _HIGHEST_FLAC_RATE and (rate % 10 or rate > 10 * _HIGHEST_FLAC_RATE):
        raise ValueError(
            f"Audio got the sample rate {rate}, which no FLAC has; expected at most {_HIGHEST_FLAC_RATE}, a multiple"
            f' of 10 up to {10 * _HIGHEST_FLAC_RATE}, or format="wav".'
        )


def _file(pcm: Pcm, sound: Sound) -> bytes:
    channels, count = sound.samples.shape
    encode = audio_files.wav if sound.format == "wav" else audio_files.flac
    return encode(pcm.blocks(), (channels, count), sound.sample_rate)


OneSound: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str]"

_CHANNELS = (1, 2)
# A WAV stores the bytes per second in 32 bits, and stereo has four bytes per sample.
_HIGHEST_RATE = 2**30 - 1


def sounds_of(sound: OneSound, sample_rate: int | None) -> Iterator[tuple[Tensor, int]]:
    """Yield the sounds of one value, shape ``(C, T)``, and their sample rates; tensors and arrays are not copied."""
    match sound:
        case str() | os.PathLike():
            samples, rate = audio_files.read(sound)
            if samples.shape[0] not in _CHANNELS or not samples.numel():
                raise ValueError(
                    f"Audio got the file {os.fspath(sound)!r} with {samples.shape[0]} channels of {samples.shape[1]}"
                    " samples; expected a file of 1 or 2 channels that is not empty."
                )
            yield samples, rate
        case Tensor() | np.ndarray():
            rate = _checked_rate(sample_rate)
            yield from ((samples, rate) for samples in _split(sound))
        case _:
            raise TypeError(f"Audio got {a_type(sound)}; expected a tensor, an array, a path, or a list of them.")


def _checked_rate(sample_rate: int | None) -> int:
    if isinstance(sample_rate, Integral) and not isinstance(sample_rate, bool) and 1 <= sample_rate <= _HIGHEST_RATE:
        return int(sample_rate)
    raise ValueError(
        f"Audio got the sample rate {sample_rate!r}; expected samples per second as a whole number, such as 16000."
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
        f"Audio got samples of shape {shape}; expected (T,), (C, T) or (T, C), or a batch of these with the batch"
        " first. C is 1 or 2, and no dimension is 0."
    )


def _tensor(sound: Tensor | np.ndarray[Any, Any]) -> Tensor:
    samples = readable(sound, "Audio")
    if samples is None or not (samples.dtype in INTEGERS or is_float(samples.dtype)):
        raise ValueError(
            f"Audio got samples of {str(sound.dtype).removeprefix('torch.')}; expected int16 or int32 of full scale,"
            " uint8 around 128, or floats in [-1, 1]."
        )
    return samples


def _channels_dim(shape: tuple[int, ...], candidates: tuple[int, int]) -> int | None:
    return next((dim for dim in candidates if shape[dim] in _CHANNELS), None)
