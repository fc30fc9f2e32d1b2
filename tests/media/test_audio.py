"""Sounds: what goes in comes out of the WAV or the FLAC as the standard library and libsndfile read it."""

from __future__ import annotations

import io
import pickle
import re
import sys
import warnings
import wave

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.media.audio import Audio

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

FLOATS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
LAYOUTS = ["T", "CT", "TC", "NCT", "NTC", "NT"]
RATES = st.sampled_from([1, 8000, 11025, 16000, 44100, 48000, 192000])

SHAPE_MESSAGE = (
    "Audio got samples of shape {}; expected (T,), (C, T) or (T, C), or a batch of these with the batch first."
    " C is 1 or 2, and no dimension is 0."
)
DTYPE_MESSAGE = (
    "Audio got samples of {}; expected int16 or int32 of full scale, uint8 around 128, or floats in [-1, 1]."
)
TYPE_MESSAGE = "Audio got {}; expected a tensor, an array, a path, or a list of them."
RATE_MESSAGE = "Audio got the sample rate {!r}; expected samples per second as a whole number, such as 16000."


def read_back(audio, name="tone"):
    """Return (samples as (T, C), sample rate) of each file, on which all its readers agree."""
    return [opened(item) for item in audio.encode(name).items]


def opened(item):
    info = soundfile.info(io.BytesIO(item.data))
    assert (f".{info.format.lower()}", info.subtype) == (item.suffix, "PCM_16")
    samples, rate = soundfile.read(io.BytesIO(item.data), dtype="int16", always_2d=True)
    if item.suffix == ".flac":
        return samples, rate
    with wave.open(io.BytesIO(item.data)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnframes()) == (rate, 2, len(samples))
        frames = np.frombuffer(file.readframes(len(samples)), "<i2").reshape(-1, file.getnchannels())
    np.testing.assert_array_equal(samples, frames, strict=True)
    return samples, rate


def assert_same(sounds, expected, rate):
    assert [found_rate for _, found_rate in sounds] == [rate] * len(expected)
    for (samples, _), wanted in zip(sounds, expected, strict=True):
        np.testing.assert_array_equal(samples, wanted, strict=True)


def noise(shape, seed=0, dtype=np.int16):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def as_libsndfile_has_it(samples, subtype):
    """Return samples as libsndfile turns them into int16: written as PCM of their own width, and read again."""
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="WAV", subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="int16", always_2d=True)[0]


def laid_out(sounds, layout):
    """Turn (N, T, C) into another order of axes; an axis that the layout has not is dropped."""
    names = [name for name in "NTC" if name in layout]
    kept = sounds[tuple(slice(None) if name in layout else 0 for name in "NTC")]
    return kept.transpose([names.index(name) for name in layout])


def array_in_memory(array, arrangement):
    """Return equal samples that lie in memory in another way."""
    match arrangement:
        case "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        case "reversed":
            # The strides of this one are negative.
            return np.flip(np.flip(array).copy())
        case _:
            return array


SHAPES = st.tuples(st.sampled_from([3, 4, 5]), st.integers(3, 40), st.sampled_from([1, 2]))


@settings(max_examples=50)
@given(
    layout=st.sampled_from(LAYOUTS),
    shape=SHAPES,
    rate=RATES,
    arrangement=st.sampled_from(["plain", "strided", "reversed", "tensor", "strided tensor"]),
    file_format=st.sampled_from(["wav", "flac"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_int16_comes_back_exactly(*, layout, shape, rate, arrangement, file_format, seed):
    """The files hold exactly the given int16 samples, for all formats, layouts and ways to lie in memory."""
    count, time, channels = shape
    sounds = noise((count if "N" in layout else 1, time, channels if "C" in layout else 1), seed)
    sounds[0, :2, 0] = [-32768, 32767]
    samples = array_in_memory(laid_out(sounds, layout), arrangement.removesuffix(" tensor"))

    audio = Audio(torch.from_numpy(samples.copy("K")) if "tensor" in arrangement else samples, rate, format=file_format)

    assert len(audio) == len(sounds)
    assert {item.suffix for item in audio.encode("tone").items} == {f".{file_format}"}
    assert_same(read_back(audio), list(sounds), rate)


@settings(max_examples=50)
@given(
    layout=st.sampled_from(LAYOUTS),
    shape=SHAPES,
    dtype=st.sampled_from(sorted(FLOATS)),
    kind=st.sampled_from(["tensor", "array", "requires_grad", "strided"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_floats_come_back_within_half_a_step(layout, shape, dtype, kind, seed):
    """A float in [-1, 1] is at most half a step of 16 bits off, and the ends are met exactly."""
    count, time, channels = shape
    wanted_shape = (count if "N" in layout else 1, time, channels if "C" in layout else 1)
    values = np.random.default_rng(seed).uniform(-1, 1, wanted_shape)
    values[0, :3, 0] = [-1, 1, 0]
    tensor = torch.from_numpy(laid_out(values, layout).copy()).to(FLOATS[dtype])
    match kind:
        case "array" if dtype != "bfloat16":  # numpy has none.
            samples = tensor.numpy()
        case "requires_grad":
            samples = tensor.requires_grad_()
        case "strided":
            samples = torch.stack([tensor, tensor], dim=-1).flatten(-2)[..., ::2]
        case _:
            samples = tensor

    found = read_back(Audio(samples, 8000))

    exact = torch.from_numpy(values).to(FLOATS[dtype]).double().numpy()
    assert len(found) == len(exact)
    for (sound, rate), floats in zip(found, exact, strict=True):
        assert (rate, sound.shape) == (8000, floats.shape)
        # A float32 is scaled as one, which can turn a half into a little less or more.
        assert np.abs(sound - floats * 32767).max() <= 0.51
    assert found[0][0][:3, 0].tolist() == [-32767, 32767, 0]


@pytest.mark.parametrize(
    ("shape", "read_as"),
    [
        ((9,), "T"),
        ((1, 9), "CT"),
        ((2, 9), "CT"),
        ((9, 1), "TC"),
        ((9, 2), "TC"),
        ((3, 9), "NT"),
        ((4, 1, 9), "NCT"),
        ((4, 9, 2), "NTC"),
        ((2, 2, 9), "NCT"),
        ((1, 9, 1), "NTC"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_shape_says_which_axis_is_which(shape, read_as, kind):
    """Two dimensions of which one is 1 or 2 are one sound, and others are a batch of mono sounds."""
    samples = noise(shape)
    sounds = samples.transpose([read_as.index(name) for name in "NTC" if name in read_as])
    sounds = sounds if "N" in read_as else sounds[np.newaxis]
    sounds = sounds if "C" in read_as else sounds[..., np.newaxis]

    assert_same(read_back(Audio(samples if kind == "array" else torch.from_numpy(samples), 8000)), list(sounds), 8000)


def test_a_list_may_hold_sounds_of_every_shape_and_keeps_their_order():
    """Mono and stereo, tensors and arrays, single sounds and batches of any length stand in one list."""
    mono, stereo, batch = noise((5,)), noise((2, 7), 1), noise((3, 1, 4), 2)

    audio = Audio([mono, torch.from_numpy(stereo), torch.from_numpy(batch)], 8000)

    assert repr(audio) == "<Audio: 5 items>"
    assert_same(read_back(audio), [mono[:, np.newaxis], stereo.T, *batch.transpose(0, 2, 1)], 8000)


@settings(max_examples=30)
@given(
    kind=st.sampled_from([("uint8", "PCM_U8"), ("int32", "PCM_32")]),
    channels=st.sampled_from([1, 2]),
    as_tensor=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_integers_of_other_widths_become_what_libsndfile_makes_of_them(kind, channels, as_tensor, seed):
    """Full scale stays full scale: of an int32 its upper bits are kept, and 128 is the silence of uint8."""
    dtype, subtype = kind
    samples = noise((50, channels), seed, dtype)
    limits = np.iinfo(dtype)
    samples[:3, 0] = [limits.min, limits.max, 128 if dtype == "uint8" else 0]
    # soundfile takes no uint8, whose zero lies in the middle.
    given_to_it = (samples.astype(np.int16) - 128) << 8 if dtype == "uint8" else samples

    ((found, _),) = read_back(Audio(torch.from_numpy(samples) if as_tensor else samples, 8000))

    np.testing.assert_array_equal(found, as_libsndfile_has_it(given_to_it, subtype), strict=True)
    assert found[2, 0] == 0


def test_a_long_sound_is_written_whole():
    """A sound of many blocks comes out sample by sample, and what is strange in it is counted over all of them."""
    samples = np.random.default_rng(0).uniform(-1, 1, (2, 200_001))
    samples[0, [5, 70_000, 199_999]] = 1.5
    samples[1, [100_000, 200_000]] = np.nan

    with pytest.warns(UserWarning, match="Audio 'tone'") as caught:
        ((found, _),) = read_back(Audio(samples, 44100))

    assert [str(warning.message) for warning in caught] == [
        "Audio 'tone': 3 samples lie outside [-1, 1] and are clipped.",
        "Audio 'tone': 2 samples are NaN and silent.",
    ]
    expected = np.rint(np.nan_to_num(samples).clip(-1, 1) * 32767).astype(np.int16)
    np.testing.assert_array_equal(found, expected.T, strict=True)


@pytest.mark.parametrize("dtype", sorted(FLOATS))
@pytest.mark.parametrize(
    ("strange", "messages", "written"),
    [
        (
            [1.5, -2.0, np.inf, -np.inf],
            ["4 samples lie outside [-1, 1] and are clipped."],
            [32767, -32767, 32767, -32767],
        ),
        ([np.nan, 1.0, -1.0], ["1 samples are NaN and silent."], [0, 32767, -32767]),
        (
            [np.nan, 1.5, 0.0],
            ["1 samples lie outside [-1, 1] and are clipped.", "1 samples are NaN and silent."],
            [0, 32767, 0],
        ),
    ],
    ids=["loud", "nan", "both"],
)
def test_samples_that_cannot_be_played_are_counted_in_a_warning(strange, messages, written, dtype):
    """Samples out of range are clipped and NaN is silence, with warnings that name the sound and count them."""
    samples = torch.full((9,), 0.5, dtype=FLOATS[dtype])
    samples[: len(strange)] = torch.tensor(strange, dtype=FLOATS[dtype])

    with pytest.warns(UserWarning, match="Audio 'val/tone'") as caught:
        ((sound, _),) = read_back(Audio(samples, 8000), "val/tone")

    assert [str(warning.message) for warning in caught] == [f"Audio 'val/tone': {message}" for message in messages]
    assert sound[: len(strange), 0].tolist() == written
    assert set(sound[len(strange) :, 0].tolist()) == {16384}


def test_a_batch_warns_once_of_all_its_sounds():
    """The counts of a batch are those of all its sounds together."""
    with pytest.warns(UserWarning, match="Audio 'tone'") as caught:
        read_back(Audio([np.full(4, 2.0), np.array([np.nan, 3.0])], 8000))

    assert [str(warning.message) for warning in caught] == [
        "Audio 'tone': 5 samples lie outside [-1, 1] and are clipped.",
        "Audio 'tone': 1 samples are NaN and silent.",
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_rounded_to_the_loudest_value_is_not_clipped(dtype):
    """A peak above 1 by less than half a step of 16 bits, as resampling leaves it, gives no warning."""
    ((sound, _),) = read_back(Audio(np.array([1.000015, -1.000015, 0.5], dtype), 8000))

    assert sound[:, 0].tolist() == [32767, -32767, 16384]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_floats_of_eight_bits_are_floats(dtype):
    """The narrowest floats that torch has are taken like the others."""
    ((sound, _),) = read_back(Audio(torch.tensor([0.0, 0.25, -0.5, 1.0]).to(dtype), 8000))

    assert sound[:, 0].tolist() == [0, 8192, -16384, 32767]


def test_the_imaginary_part_of_a_conjugate_is_a_sound():
    """Torch puts off turning the sign of such a tensor, and we do not forget it."""
    samples = torch.complex(torch.zeros(3), torch.tensor([0.0, 0.5, -1.0])).conj().imag
    assert samples.is_neg()

    for audio in (Audio(samples, 8000), Audio(samples, 8000).snapshot()):
        ((sound, _),) = read_back(audio)
        assert sound[:, 0].tolist() == [0, -16384, 32767]


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.0, 0.5, -1.0], ">f4"),
        np.array([0.0, 0.5, -1.0], np.longdouble),
        np.array([0, 2**30, -(2**31)], ">i4"),
    ],
    ids=lambda array: array.dtype.str,
)
def test_an_array_of_a_dtype_that_torch_has_not_is_turned_into_one(array):
    """Numbers of another byte order and of more bits than torch knows are sounds all the same."""
    ((sound, _),) = read_back(Audio(array, 8000))

    assert sound[:, 0].tolist() == [0, 16384, -32768 if array.dtype.kind == "i" else -32767]


def test_an_array_that_nobody_may_write_is_a_sound():
    """An array that is read-only, as `numpy.frombuffer` makes it, gives no warning."""
    samples = np.frombuffer(noise(9).tobytes(), np.int16)

    assert_same(read_back(Audio(samples, 8000)), [samples[:, np.newaxis]], 8000)


WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}


@settings(max_examples=40)
@given(
    subtype=st.sampled_from(sorted(WIDTHS)),
    channels=st.sampled_from([1, 2]),
    rate=RATES,
    seed=st.integers(0, 2**32 - 1),
)
def test_a_wav_file_needs_no_soundfile(tmp_path_factory, subtype, channels, rate, seed):
    """WAV files of integers of every width are read by the standard library, as libsndfile reads them."""
    path = tmp_path_factory.mktemp("sounds") / "é 1.wav"
    soundfile.write(path, noise((30, channels), seed, np.int32), rate, subtype=subtype)
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == WIDTHS[subtype]
    expected, _ = soundfile.read(path, dtype="int16", always_2d=True)

    with pytest.MonkeyPatch.context() as without_soundfile:
        without_soundfile.setitem(sys.modules, "soundfile", None)
        audio = Audio(path)
        path.unlink()

    assert_same(read_back(audio), [expected], rate)


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("AIFF", "PCM_16"),
        ("WAVEX", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("as_type", [str, lambda path: path], ids=["str", "Path"])
def test_a_file_of_another_format_is_read_with_soundfile(file_format, subtype, as_type, tmp_path):
    """What soundfile reads is a sound, with the sample rate of the file, and the file may go then."""
    if file_format not in soundfile.available_formats():
        pytest.skip("this libsndfile has no such format")
    path = tmp_path / f"tone.{file_format.lower()}"
    tone = np.stack([np.sin(np.arange(4000) * 0.05), np.cos(np.arange(4000) * 0.07)], axis=1) * 0.5
    soundfile.write(path, tone, 16000, format=file_format, subtype=subtype)
    expected, _ = soundfile.read(path, always_2d=True)

    audio = Audio(as_type(path))
    path.unlink()

    ((sound, rate),) = read_back(audio)
    assert (rate, sound.shape) == (16000, expected.shape)
    assert np.abs(sound / 32767 - expected).max() < 2 / 32767


def test_a_file_has_its_own_rate_and_stands_beside_samples(tmp_path):
    """The given rate is that of the samples, and each file keeps its own."""
    stored, samples = noise((7, 2)), noise((2, 9), 1)
    soundfile.write(tmp_path / "a.wav", stored, 44100)

    audio = Audio([tmp_path / "a.wav", samples], 8000, ["file", "samples"])

    (first, first_rate), (second, second_rate) = read_back(audio)
    assert (first_rate, second_rate) == (44100, 8000)
    np.testing.assert_array_equal(first, stored)
    np.testing.assert_array_equal(second, samples.T)


def test_a_wav_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    """Whole frames are kept of a file that ends within one."""
    samples = noise((9, 2))
    soundfile.write(tmp_path / "cut.wav", samples, 8000)
    whole = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:-3])

    assert_same(read_back(Audio(tmp_path / "cut.wav")), [samples[:-1]], 8000)


@pytest.mark.parametrize("shape", [(9, 6), (0, 1)], ids=["6 channels", "empty"])
def test_a_file_that_is_no_sound_for_two_ears_is_refused(shape, tmp_path):
    """A file of more than two channels, which could be taken for a batch, and an empty one raise where it is read."""
    path = tmp_path / "many.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((shape[1], 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(noise(shape).tobytes())
    message = (
        f"Audio got the file {str(path)!r} with {shape[1]} channels of {shape[0]} samples; expected a file of 1 or 2"
        " channels that is not empty."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio(path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"a text, which is no sound at all"], ids=["empty", "cut", "text"])
def test_a_file_that_holds_no_sound_is_refused(content, tmp_path):
    """A file that nobody can read raises where it is read, and is named."""
    path = tmp_path / "tone.wav"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"^{re.escape(f'Audio got the file {str(path)!r}, and soundfile cannot')}"):
        Audio(str(path))


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    """A missing file raises where the sound is made, and is named."""
    missing = tmp_path / "missing.wav"

    with pytest.raises(
        FileNotFoundError, match=f"^{re.escape(f'[Errno 2] No such file or directory: {str(missing)!r}')}"
    ):
        Audio(missing)


def test_where_soundfile_is_missing_it_is_said_what_to_install(tmp_path, monkeypatch):
    """FLAC, and files that the standard library cannot read, raise where the sound is made."""
    path = tmp_path / "tone.flac"
    soundfile.write(path, noise(9), 8000)
    monkeypatch.setitem(sys.modules, "soundfile", None)

    with pytest.raises(ImportError) as of_format:
        Audio(torch.zeros(9), 8000, format="flac")
    with pytest.raises(ImportError) as of_file:
        Audio(path)

    assert str(of_format.value) == ('Audio(…, format="flac") needs soundfile; install it with `pip install soundfile`.')
    assert str(of_file.value) == (
        f"The sound file {str(path)!r} needs soundfile; install it with `pip install soundfile`."
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_is_what_the_standard_library_writes(channels):
    """To the last byte, which includes the bytes a second that hardly any reader looks at."""
    samples, expected = noise((9, channels)), io.BytesIO()
    with wave.open(expected, "wb") as file:
        file.setparams((channels, 2, 44100, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    (item,) = Audio(samples, 44100).encode("tone").items

    assert item.data == expected.getvalue()


def test_flac_is_smaller():
    """FLAC keeps every sample in fewer bytes."""
    tone = (np.sin(np.arange(44100) * 0.05) * 20000).astype(np.int16)
    (wav,) = Audio(tone, 44100).encode("tone").items
    (flac,) = Audio(tone, 44100, format="flac").encode("tone").items

    assert len(flac.data) < len(wav.data) / 2
    np.testing.assert_array_equal(opened(flac)[0], opened(wav)[0])


@pytest.mark.parametrize("file_format", ["mp3", "WAV", None, 5])
def test_another_format_is_refused(file_format):
    """A format that is not written raises where the sound is made."""
    guess = r" Did you mean 'wav'\?" if file_format == "WAV" else ""
    with pytest.raises(ValueError, match=f'^Audio got format={file_format!r}; expected "wav" or "flac".{guess}$'):
        Audio(torch.zeros(9), 8000, format=file_format)


@pytest.mark.parametrize("rate", [65537, 96001, 655360])
def test_a_sample_rate_that_no_flac_has_is_refused(rate):
    """FLAC has whole numbers up to 65535 and tens up to 655350; a WAV takes the others."""
    message = (
        f"Audio got the sample rate {rate}, which no FLAC has; expected at most 65535, a multiple of 10 up to 655350,"
        " or"
        ' format="wav".'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio(torch.zeros(9), rate, format="flac")
    assert read_back(Audio(torch.zeros(9), rate))[0][1] == rate


@pytest.mark.parametrize("rate", [65535, 96000, 655350])
def test_the_highest_sample_rates_of_flac_are_written(rate):
    """The last rates that are taken come back from the file."""
    assert read_back(Audio(noise(50), rate, format="flac"))[0][1] == rate


def test_a_sound_too_long_for_a_wav_is_refused():
    """A WAV says its size in 32 bits; what does not fit raises where the sound is made, and holds no memory here."""
    longest = (2**32 - 37) // 2
    samples = torch.zeros(1, dtype=torch.int16)
    message = (
        f"Audio got a sound of {2 * (longest + 1)} bytes, and a WAV holds at most 4294967259; expected a shorter one,"
        " or"
        ' format="flac".'
    )

    assert len(Audio(samples.expand(longest), 8000)) == 1
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio(samples.expand(longest + 1), 8000)


@pytest.mark.parametrize(
    "rate", [0, -1, 8000.0, "8000", None, 2**32, pytest.param(2**31, id="more bytes a second than a WAV can say")]
)
def test_a_sample_rate_that_no_wav_has_is_refused(rate):
    """A sample rate that is no positive whole number, or too large for a WAV, raises where the sound is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'Audio got the sample rate {rate!r};')}"):
        Audio(torch.zeros(9), rate)


def test_the_message_on_a_sample_rate_says_what_to_give():
    """The message shows what was given and an example of what is expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(RATE_MESSAGE.format(16000.0))}$"):
        Audio(torch.zeros(9), 16000.0)


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64"])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_dtype_that_has_no_range_is_refused(kind, dtype):
    """Integers that no sound file has and complex numbers raise where the sound is made."""
    samples = np.zeros(9, dtype)

    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(dtype))}$"):
        Audio(samples if kind == "array" else torch.from_numpy(samples), 8000)


@pytest.mark.parametrize("dtype", ["object", "<U1", "datetime64[s]", "uint16"])
def test_an_array_that_holds_no_samples_is_refused(dtype):
    """What numpy has and torch has not raises where the sound is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(np.dtype(dtype)))}$"):
        Audio(np.zeros(9, dtype), 8000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(2, 9).to_sparse(), "a sparse tensor; expected a dense one, tensor.to_dense()."),
        (lambda: torch.zeros(2, 9).to_sparse_csr(), "a sparse tensor; expected a dense one, tensor.to_dense()."),
        (
            lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(5)]),
            "a nested tensor; expected a list of its tensors, tensor.unbind().",
        ),
        (
            lambda: torch.quantize_per_tensor(torch.zeros(9), 0.1, 0, torch.qint8),
            "a quantized tensor; expected its numbers, tensor.dequantize().",
        ),
        (
            lambda: torch.zeros(9, device="meta"),
            "a tensor on the device 'meta', which holds no values; expected one that does.",
        ),
    ],
    ids=["sparse", "csr", "nested", "quantized", "meta"],
)
def test_a_tensor_that_is_not_dense_is_refused(make, message):
    """A tensor whose values do not lie in memory one by one raises where the sound is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Torch's own, of what it has in development.
        samples = make()

    with pytest.raises(ValueError, match=f"^{re.escape(f'Audio got {message}')}$"):
        Audio(samples, 8000)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, 9), (3, 4, 5), (0, 2, 9), (1, 1, 2, 9)], ids=str)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_shape_that_is_no_sound_is_refused(make, shape):
    """A wrong number of dimensions or of channels, and an empty sound, raise where the sound is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(SHAPE_MESSAGE.format(shape))}$"):
        Audio(make(shape), 8000)


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (None, "None"),
        ([0.5, 0.25], "a float"),
        ([np.zeros(9), [0.5]], "a list"),
        (b"RIFF", "a bytes"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(value, type_name):
    """What is no sound raises where the sound is made, also inside a list."""
    with pytest.raises(TypeError, match=f"^{re.escape(TYPE_MESSAGE.format(type_name))}$"):
        Audio(value, 8000)


def test_an_empty_list_is_refused():
    """A medium holds at least one item."""
    message = "Audio got no items; log at least one, or leave the call out."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio([], 8000)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (
            {"caption": ["one"]},
            "Audio got 3 items and 1 captions; expected one caption for each item, or a single string for all.",
        ),
        ({"score": [0.5, 0.25]}, "Audio got 3 items and 2 scores; expected one number for each item."),
    ],
    ids=["captions", "scores"],
)
def test_another_number_of_captions_or_scores_is_refused(extras, message):
    """Captions and scores are one for each sound."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio(torch.zeros(3, 9), 8000, **extras)


@settings(max_examples=30)
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 3), RATES, st.sampled_from(["wav", "flac"]), st.booleans(), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    data=st.data(),
)
def test_joined_and_take_keep_what_belongs_to_each_sound(parts, data):
    """Sounds of several sample rates and formats stand in one batch, each with its own caption and score."""
    batches, rows, number = [], [], 0
    for size, rate, file_format, has_captions, has_scores in parts:
        captions = [f"caption {number + index}" for index in range(size)] if has_captions else None
        scores = [(number + index) / 2 for index in range(size)] if has_scores else None
        samples = [np.full(3 + index, number + index, np.int16) for index in range(size)]
        batches.append(Audio(samples, rate, captions, scores, format=file_format))
        kinds = [(rate, f".{file_format}")] * size
        rows += zip(samples, kinds, captions or [None] * size, scores or [None] * size, strict=True)
        number += size
    some_scores = any(score is not None for *_, score in rows)

    first, *others = batches
    joined = first.joined(others)
    indices = data.draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=8))
    taken = joined.take(indices)

    items = taken.encode("tone").items
    assert (len(joined), len(taken), len(items)) == (number, len(indices), len(indices))
    for item, (samples, kind, caption, score) in zip(items, [rows[index] for index in indices], strict=True):
        found, rate = opened(item)
        np.testing.assert_array_equal(found[:, 0], samples)
        assert ((rate, item.suffix), item.caption) == (kind, caption)
        np.testing.assert_equal(item.score, np.nan if score is None and some_scores else score)
    assert len(first) == parts[0][0]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32], ids=str)
def test_a_snapshot_is_out_of_reach_of_later_changes(dtype):
    """What the caller does in place after the snapshot is not heard in the file."""
    samples = torch.ones(2, 9, dtype=dtype)
    audio = Audio(samples, 8000, caption="same")
    expected = audio.encode("tone")

    snapshot = audio.snapshot()
    samples.zero_()

    assert snapshot.encode("tone") == expected
    assert audio.encode("tone") != expected


def test_an_array_is_out_of_reach_of_later_changes():
    """The snapshot of a sound made of an array does not hear what the array becomes."""
    samples = np.ones(9, np.int16)
    snapshot = Audio(samples, 8000).snapshot()

    samples[:] = 0

    assert_same(read_back(snapshot), [np.ones((9, 1), np.int16)], 8000)


def test_nbytes_is_the_memory_of_the_samples():
    """Delivery bounds its memory by this."""
    assert Audio([torch.zeros(2, 9), np.zeros(5, np.int16)], 8000).nbytes == 2 * 9 * 4 + 5 * 2


def test_a_sample_rate_may_be_numpys_and_not_a_truth_value():
    """A whole number of any type is a rate; True is none."""
    ((_, rate),) = read_back(Audio(torch.zeros(9), np.int64(8000)), "tone")
    assert rate == 8000
    with pytest.raises(ValueError, match=r"^Audio got the sample rate True;"):
        Audio(torch.zeros(9), True)


def test_a_long_sound_has_a_snapshot_too():
    """A snapshot of many samples, in any layout, is the same sound and out of reach."""
    samples = torch.from_numpy(noise((100_000, 2)))
    snapshot = Audio(samples, 8000).snapshot()
    expected = samples.numpy().copy()

    samples.zero_()

    assert_same(read_back(snapshot), [expected], 8000)


def test_a_sound_can_be_sent_to_another_process():
    """A sound is the same after it was pickled."""
    audio = Audio([noise(9), noise((2, 5))], 8000, ["a", "b"], [0.5, 1.5], format="flac")

    assert pickle.loads(pickle.dumps(audio)).encode("tone") == audio.encode("tone")


def test_samples_need_a_rate():
    """A rate may be left out for files alone."""
    with pytest.raises(ValueError, match=f"^{re.escape(RATE_MESSAGE.format(None))}$"):
        Audio(torch.zeros(9))
