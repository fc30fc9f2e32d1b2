"""Sounds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import numpy as np
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media import audio_files
from lightning_trackplus.media.audio_files import INTEGERS, Pcm
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.tensors import clone_to_host, is_float, readable
from lightning_trackplus.record import AudioPayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import did_you_mean

SoundFormat: TypeAlias = Literal["wav", "flac"]

# RFC 9639, section 9.1.2: in hertz in 16 bits, or in tens of hertz.
_HIGHEST_FLAC_RATE = 2**16 - 1


class Sound(NamedTuple):
    """One sound of a batch; sounds of several rates and formats can stand in one batch.

    Attributes:
        samples: uint8, int16, int32 or float in [-1, 1], shape (C, T).
        sample_rate: Samples a second.
        format: What it becomes.
    """

    samples: Tensor
    sample_rate: int
    format: SoundFormat


class Audio(Media[Sound]):
    """One sound or a batch of them, written with 16 bits a sample and played in TensorBoard's audio tab.

    Args:
        samples: A tensor or an array of shape ``(T,)``, ``(C, T)`` or ``(T, C)``, a batch ``(N, C, T)``,
            ``(N, T, C)`` or ``(N, T)``, a path of a sound file, or a list of sounds. C is 1 (mono) or 2
            (stereo), and two dimensions of which one is 1 or 2 are one sound. The dtype is int16 or
            int32 of full scale, uint8 around 128 as WAV files have it, or any float in [-1, 1].
            Files other than WAV of plain integers, such as FLAC, OGG and MP3, need soundfile.
        sample_rate: Samples a second, in hertz; a file has its own, which counts.
        caption: A line about the sound, or a list with one for each.
        score: A number for the sound, or one for each, shape ``(N,)``.
        format: What is written: ``"wav"``, or ``"flac"``, which takes about two thirds of the space
            and needs soundfile, the extra ``audio``.

    Raises:
        ValueError: If the shape, the dtype or the sample rate is none of these, a file is no sound,
            or there is another number of captions or scores than of sounds.
        TypeError: If a sound is of another type.
        FileNotFoundError: If a path leads nowhere.
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
        if format not in get_args(SoundFormat):
            guess = did_you_mean(str(format), get_args(SoundFormat))
            raise ValueError(f'Audio got format={format!r}; give "wav" or "flac".{guess}')
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
        """Memory that the samples hold, in bytes."""
        return sum(sound.samples.nbytes for sound in self._items)

    @override
    def encode(self, name: str) -> AudioPayload:
        """Return the sounds as files.

        Args:
            name: The name they were logged under, for warnings.
        """
        sounds = [(Pcm(sound.samples), sound) for sound in self._items]
        files = [_file(pcm, sound) for pcm, sound in sounds]
        _warn(sum(pcm.clipped for pcm, _ in sounds), "lie outside [-1, 1] and are clipped", name)
        _warn(sum(pcm.missing for pcm, _ in sounds), "are NaN and silent", name)
        return AudioPayload(self._encoded(files, [f".{sound.format}" for sound in self._items]))

    @override
    def _snapshot_of(self, item: Sound) -> Sound:
        return item._replace(samples=clone_to_host(item.samples))


def _check_file(sound: Sound) -> None:
    """Raise if a sound does not fit into a file of its format."""
    rate, size = sound.sample_rate, 2 * sound.samples.numel()
    if sound.format == "wav" and size > audio_files.LARGEST_WAV:
        raise ValueError(
            f"Audio got a sound of {size} bytes, and a WAV holds at most {audio_files.LARGEST_WAV}; give a shorter"
            ' one, or format="flac".'
        )
    if sound.format == "flac" and rate > _HIGHEST_FLAC_RATE and (rate % 10 or rate > 10 * _HIGHEST_FLAC_RATE):
        raise ValueError(
            f"Audio got the sample rate {rate}, which no FLAC has; above {_HIGHEST_FLAC_RATE} give a multiple of 10 up"
            f' to {10 * _HIGHEST_FLAC_RATE}, or format="wav".'
        )


def _file(pcm: Pcm, sound: Sound) -> bytes:
    channels, count = sound.samples.shape
    encode = audio_files.wav if sound.format == "wav" else audio_files.flac
    return encode(pcm.blocks(), (channels, count), sound.sample_rate)


def _warn(count: int, what: str, name: str) -> None:
    if count:
        warnings.warn(f"Audio {name!r}: {count} samples {what}.", stacklevel=3)


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
            samples, rate = audio_files.read(sound)
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
