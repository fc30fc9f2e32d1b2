"""Sound files: WAV by the standard library, everything else by soundfile, if it is installed."""

from __future__ import annotations

import importlib
import io
import os
import struct
import wave
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.media.tensors import as_tensor

LARGEST_WAV = 2**32 - 1 - 36
"""The most bytes of samples in a WAV, which stores in 32 bits how many bytes follow."""

_WAV_DTYPES = {1: "u1", 2: "<i2", 3: "<i4", 4: "<i4"}


def soundfile(reason: str) -> ModuleType:
    """Return the module soundfile, or raise an ImportError that says for what it is needed."""
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # It raises OSError where libsndfile is missing.
        raise ImportError(f"{reason} needs soundfile; install it with `pip install soundfile`.") from error


def read(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Return the samples of a sound file, shape ``(C, T)``, and its sample rate.

    Integers keep their width, except that 24 bits become the upper ones of 32.
    """
    path = os.fspath(path)
    try:
        with wave.open(path) as file:
            return _wav_samples(file), file.getframerate()
    except (wave.Error, EOFError):
        # The standard library reads only WAVs of plain integers.
        return _read_with_soundfile(path)


def wav(blocks: Iterable[NDArray[np.int16]], shape: tuple[int, int], sample_rate: int) -> bytes:
    """Return blocks of samples, each of shape ``(t, C)``, as a WAV file; ``shape`` is that of the sound, (C, T).

    The header is that of Microsoft's "Multimedia Programming Interface and Data Specifications 1.0", 1991.
    """
    channels, count = shape
    frame = 2 * channels
    size = frame * count
    file = io.BytesIO()
    file.write(
        struct.pack(
            "<4sI8sIHHIIHH",
            b"RIFF",
            36 + size,
            b"WAVEfmt ",
            16,
            1,
            channels,
            sample_rate,
            sample_rate * frame,
            frame,
            16,
        )
    )
    file.write(struct.pack("<4sI", b"data", size))
    for block in blocks:
        file.write(block.astype("<i2", copy=False).data)
    return file.getvalue()


def flac(blocks: Iterable[NDArray[np.int16]], shape: tuple[int, int], sample_rate: int) -> bytes:
    """Return blocks of samples, each of shape ``(t, C)``, as a FLAC file; ``shape`` is that of the sound, (C, T)."""
    file = io.BytesIO()
    with soundfile("FLAC").SoundFile(file, "w", sample_rate, shape[0], "PCM_16", format="FLAC") as writer:
        for block in blocks:
            writer.write(block)
    return file.getvalue()


def _wav_samples(file: wave.Wave_read) -> Tensor:
    width, channels = file.getsampwidth(), file.getnchannels()
    if width not in _WAV_DTYPES:
        raise wave.Error
    frames = file.readframes(file.getnframes())
    # A truncated file may end within a frame.
    octets = np.frombuffer(frames[: len(frames) // (width * channels) * width * channels], np.uint8)
    if width == 3:
        octets = np.pad(octets.reshape(-1, 3), ((0, 0), (1, 0)))
    return as_tensor(octets.reshape(-1).view(_WAV_DTYPES[width]).reshape(-1, channels).T)


def _read_with_soundfile(path: str) -> tuple[Tensor, int]:
    module = soundfile(f"The sound file {path!r}")
    try:
        with module.SoundFile(path) as file:
            # Integers read as floats would lose their scale, and floats read as integers their values.
            dtype = "int32" if file.subtype.startswith("PCM_") else "float32"
            return torch.from_numpy(file.read(dtype=dtype, always_2d=True)).T, file.samplerate
    except module.LibsndfileError as error:
        raise ValueError(
            f"Audio got the file {path!r}, and soundfile cannot read it: {error.error_string} Give WAV, FLAC, OGG or"
            " MP3, or the samples."
        ) from error


INTEGERS = (torch.uint8, torch.int16, torch.int32)

_LOUDEST = 32767
_MIDDLE_OF_UINT8 = 128
# Small enough for intermediate results to stay in the processor's cache.
_BLOCK = 65536


class Pcm:
    """The samples of one sound, converted block by block.

    Args:
        samples: uint8 around 128, int16 or int32 of full scale, or any float in [-1, 1], on any
            device, shape ``(C, T)``.

    Attributes:
        clipped: The samples outside [-1, 1] in the blocks so far.
        missing: The samples that were NaN, and are silent.
    """

    def __init__(self, samples: Tensor) -> None:
        # numpy does not know torch's lazy negation.
        self._samples = samples.detach().cpu().resolve_neg()
        self.clipped = 0
        self.missing = 0

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """Yield the samples in order, as int16 of shape ``(t, C)``."""
        for start in range(0, self._samples.shape[1], _BLOCK):
            block = self._integers(self._samples[:, start : start + _BLOCK])
            yield np.ascontiguousarray(block.T, dtype=np.int16)

    def _integers(self, block: Tensor) -> NDArray[Any]:
        match block.dtype:
            case torch.int16:
                return block.numpy()
            case torch.int32:
                return block.numpy() >> 16
            case torch.uint8:
                return (block.numpy().astype(np.int16) - _MIDDLE_OF_UINT8) << 8
            case _:
                # numpy has neither bfloat16 nor floats of 8 bits.
                return self._rounded(block.numpy() if block.dtype == torch.float64 else block.float().numpy())

    def _rounded(self, floats: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = floats * floats.dtype.type(_LOUDEST)
        # If there is a NaN, both are NaN, and the comparison is false.
        if not (scaled.min() >= -_LOUDEST and scaled.max() <= _LOUDEST):
            nan = np.isnan(scaled)
            scaled[nan] = 0
            self.missing += int(nan.sum())
            # A value that rounds to the loudest one is not clipped.
            self.clipped += int((np.abs(scaled) > _LOUDEST + 0.5).sum())
            np.clip(scaled, -_LOUDEST, _LOUDEST, out=scaled)
        np.rint(scaled, out=scaled)
        return scaled
