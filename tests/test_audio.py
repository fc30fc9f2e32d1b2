"""Sounds: what goes in comes out of the WAV as the standard library and libsndfile read it."""

from __future__ import annotations

import io
import re
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
    "Audio got samples of shape {}; give (T,), (C, T) or (T, C), or a batch of these with the batch first."
    " C is 1 or 2, and no dimension is 0."
)
DTYPE_MESSAGE = "Audio got samples of {}; give int16, or floats in [-1, 1]."
TYPE_MESSAGE = "Audio got a {}; give a tensor, an array, or a list of them."
RATE_MESSAGE = "Audio got the sample rate {!r}; give samples a second as a whole number, such as 16000."


def read_back(audio, name="tone"):
    """Return (samples as (T, C), sample rate) of each WAV, on which both readers agree."""
    return [opened(item) for item in audio.encode(name).items]


def opened(item):
    assert item.suffix == ".wav"
    samples, rate = soundfile.read(io.BytesIO(item.data), dtype="int16", always_2d=True)
    with wave.open(io.BytesIO(item.data)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnframes()) == (rate, 2, len(samples))
        frames = np.frombuffer(file.readframes(len(samples)), "<i2").reshape(-1, file.getnchannels())
    np.testing.assert_array_equal(samples, frames, strict=True)
    return samples, rate


def assert_same(sounds, expected, rate):
    assert [found_rate for _, found_rate in sounds] == [rate] * len(expected)
    for (samples, _), wanted in zip(sounds, expected, strict=True):
        np.testing.assert_array_equal(samples, wanted, strict=True)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(-32768, 32768, shape, dtype=np.int16)


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


@settings(deadline=None, max_examples=100)
@given(
    layout=st.sampled_from(LAYOUTS),
    shape=SHAPES,
    rate=RATES,
    arrangement=st.sampled_from(["plain", "strided", "reversed", "tensor", "strided tensor"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_int16_comes_back_exactly(layout, shape, rate, arrangement, seed):
    """The WAVs hold exactly the given int16 samples, for all layouts and ways to lie in memory."""
    count, time, channels = shape
    sounds = noise((count if "N" in layout else 1, time, channels if "C" in layout else 1), seed)
    sounds[0, :2, 0] = [-32768, 32767]
    samples = array_in_memory(laid_out(sounds, layout), arrangement.removesuffix(" tensor"))

    audio = Audio(torch.from_numpy(samples.copy("K")) if "tensor" in arrangement else samples, rate)

    assert len(audio) == len(sounds)
    assert_same(read_back(audio), list(sounds), rate)


@settings(deadline=None, max_examples=100)
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
        assert np.abs(sound - floats * 32767).max() <= 0.5
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


@pytest.mark.parametrize("dtype", sorted(FLOATS))
@pytest.mark.parametrize(
    ("strange", "count", "written"),
    [
        ([1.5, -2.0, np.inf, -np.inf], 4, [32767, -32767, 32767, -32767]),
        ([np.nan, 1.0, -1.0], 1, [0, 32767, -32767]),
        ([np.nan, 1.5, 0.0], 2, [0, 32767, 0]),
    ],
    ids=["loud", "nan", "both"],
)
def test_samples_that_cannot_be_played_are_counted_in_a_warning(strange, count, written, dtype):
    """Samples out of range are clipped and NaN is silence, with a warning that names the sound and counts them."""
    samples = torch.full((9,), 0.5, dtype=FLOATS[dtype])
    samples[: len(strange)] = torch.tensor(strange, dtype=FLOATS[dtype])

    with pytest.warns(UserWarning, match="Audio 'val/tone'") as caught:
        ((sound, _),) = read_back(Audio(samples, 8000), "val/tone")

    assert [str(warning.message) for warning in caught] == [
        f"Audio 'val/tone': {count} samples lie outside [-1, 1] or are NaN; they are clipped, NaN is silence."
    ]
    assert sound[: len(strange), 0].tolist() == written
    assert set(sound[len(strange) :, 0].tolist()) == {16384}


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


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_dtype_that_has_no_range_is_refused(kind, dtype):
    """Integers other than int16 raise where the sound is made."""
    samples = np.zeros(9, dtype)

    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(f'torch.{dtype}'))}$"):
        Audio(samples if kind == "array" else torch.from_numpy(samples), 8000)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, 9), (3, 4, 5), (0, 2, 9), (1, 1, 2, 9)], ids=str)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_shape_that_is_no_sound_is_refused(make, shape):
    """A wrong number of dimensions or of channels, and an empty sound, raise where the sound is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(SHAPE_MESSAGE.format(shape))}$"):
        Audio(make(shape), 8000)


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (None, "NoneType"),
        ("tone.wav", "str"),
        ([0.5, 0.25], "float"),
        ([np.zeros(9), [0.5]], "list"),
        (b"RIFF", "bytes"),
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
            "Audio got 3 items and 1 captions; give one caption for each item, or a single string for all.",
        ),
        ({"score": [0.5, 0.25]}, "Audio got 3 items and 2 scores; give one number for each item."),
    ],
    ids=["captions", "scores"],
)
def test_another_number_of_captions_or_scores_is_refused(extras, message):
    """Captions and scores are one for each sound."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Audio(torch.zeros(3, 9), 8000, **extras)


@settings(deadline=None, max_examples=50)
@given(
    parts=st.lists(st.tuples(st.integers(1, 3), RATES, st.booleans(), st.booleans()), min_size=1, max_size=4),
    count=st.integers(1, 12),
)
def test_joined_and_first_keep_the_rate_caption_and_score_of_each_sound(parts, count):
    """Sounds of several sample rates stand in one batch, each with its own caption and score."""
    batches, rows, number = [], [], 0
    for size, rate, has_captions, has_scores in parts:
        captions = [f"caption {number + index}" for index in range(size)] if has_captions else None
        scores = [(number + index) / 2 for index in range(size)] if has_scores else None
        samples = [np.full(3 + index, number + index, np.int16) for index in range(size)]
        batches.append(Audio(samples, rate, captions, scores))
        rows += zip(samples, [rate] * size, captions or [None] * size, scores or [None] * size, strict=True)
        number += size
    some_scores = any(score is not None for *_, score in rows)

    first, *others = batches
    joined = first.joined(others)
    joined = joined.take(range(min(count, len(joined))))

    items = joined.encode("tone").items
    assert len(joined) == len(items) == min(count, number)
    for item, (samples, rate, caption, score) in zip(items, rows, strict=False):
        found, found_rate = opened(item)
        np.testing.assert_array_equal(found[:, 0], samples)
        assert (found_rate, item.caption) == (rate, caption)
        np.testing.assert_equal(item.score, np.nan if score is None and some_scores else score)
    assert len(first) == parts[0][0]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32], ids=str)
def test_a_snapshot_is_out_of_reach_of_later_changes(dtype):
    """What the caller does in place after the snapshot is not heard in the WAV."""
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
