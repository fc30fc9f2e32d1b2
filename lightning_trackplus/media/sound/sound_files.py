"""Sounds as files: WAV by the standard library, everything else by soundfile, where it is installed."""

from __future__ import annotations

import importlib
import io
import os
import struct
import wave
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.media.arrays import as_tensor

LARGEST_WAV = 2**32 - 1 - 36
"""How many bytes of samples a WAV can hold: it says in 32 bits how many bytes follow."""

_WAV_DTYPES = {1: "u1", 2: "<i2", 3: "<i4", 4: "<i4"}


def soundfile(reason: str) -> ModuleType:
    """Return the module soundfile.

    Args:
        reason: What needs it, for the message.

    Raises:
        ImportError: If it, or the library behind it, is not installed.
    """
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # It raises OSError where libsndfile is missing.
        raise ImportError(f"{reason} needs soundfile; install it with `pip install soundfile`.") from error


def read(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Return the samples of a sound file, shape ``(C, T)``, and its sample rate.

    Integers keep their width, but for 24 bits, which become the upper ones of 32.

    Args:
        path: A WAV file, or where soundfile is installed any that it reads, such as FLAC, OGG or MP3.

    Raises:
        FileNotFoundError: If the path leads nowhere.
        ImportError: If soundfile is needed and not installed.
        ValueError: If the file is no sound.
    """
    path = os.fspath(path)
    try:
        with wave.open(path) as file:
            return _wav_samples(file), file.getframerate()
    except (wave.Error, EOFError):
        # The standard library knows WAVs of plain integers alone.
        return _read_with_soundfile(path)


def wav(blocks: Iterable[NDArray[np.int16]], shape: tuple[int, int], sample_rate: int) -> bytes:
    """Return a sound as a WAV file.

    The header is that of Microsoft's "Multimedia Programming Interface and Data Specifications 1.0", 1991.

    Args:
        blocks: The samples in order, each block of shape ``(t, C)``.
        shape: C and T of the whole sound.
        sample_rate: Samples a second.
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
    """Return a sound as a FLAC file of 16 bits.

    Args:
        blocks: The samples in order, each block of shape ``(t, C)``.
        shape: C and T of the whole sound.
        sample_rate: Samples a second.
    """
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
    # A file that was cut off may end within a frame.
    octets = np.frombuffer(frames[: len(frames) // (width * channels) * width * channels], np.uint8)
    if width == 3:
        octets = np.pad(octets.reshape(-1, 3), ((0, 0), (1, 0)))
    return as_tensor(octets.reshape(-1).view(_WAV_DTYPES[width]).reshape(-1, channels).T)


def _read_with_soundfile(path: str) -> tuple[Tensor, int]:
    module = soundfile(f"The sound file {path!r}")
    try:
        with module.SoundFile(path) as file:
            # A subtype of integers, asked for as floats, would lose its scale; one of floats, as integers, its values.
            dtype = "int32" if file.subtype.startswith("PCM_") else "float32"
            return torch.from_numpy(file.read(dtype=dtype, always_2d=True)).T, file.samplerate
    except module.LibsndfileError as error:
        raise ValueError(
            f"Audio got the file {path!r}, and soundfile cannot read it: {error.error_string} Give WAV, FLAC, OGG or"
            " MP3, or the samples."
        ) from error
