"""Which items of a stream of media are kept: against numpy, over batches and over processes."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.selected_items import SelectedItems, in_shown_order
from lightning_trackplus.media.selection import Bottom, First, Last, Sample, Top, selection_of
from lightning_trackplus.media.text import Text
from lightning_trackplus.media.video import Video
from lightning_trackplus.runtime.device_transfer import HostCopy
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException

SCORES = st.lists(
    st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 3.0, np.inf, np.nan]), min_size=1, max_size=5), max_size=6
)


def texts_of(media: Media) -> list[str]:
    return [item.data.decode() for item in media.encode("x").items]


def kept(selection, batches, rank=0):
    """Return what is kept of texts that are numbered over all batches."""
    keeping, number = SelectedItems(selection, rank), 0
    for scores in batches:
        numbers = [f"{rank}/{number + index}" for index in range(len(scores))]
        keeping.add(Text(numbers, score=scores))
        number += len(scores)
    return keeping


def result(keeping):
    places = keeping.places()
    if not places:
        return []
    return texts_of(keeping.batch(in_shown_order(places, by_score=keeping.selection.needs_scores)))


def as_numbers(texts):
    return [int(text.split("/")[1]) for text in texts]


@given(batches=SCORES, n=st.integers(1, 7))
def test_items_are_those_of_numpy(batches, n):
    """However the stream is cut: the first, the last, and by score with the earlier before the later of a tie."""
    scores = np.array([score for batch in batches for score in batch])
    places = np.arange(len(scores))
    assert as_numbers(result(kept(First(n), batches))) == list(places[:n])
    assert as_numbers(result(kept(Last(n), batches))) == list(places[-n:])
    # Stable, and NaN is the last whichever end is asked for.
    falling = np.argsort(-scores, kind="stable")
    rising = np.argsort(scores, kind="stable")
    assert as_numbers(result(kept(Top(n), batches))) == list(falling[:n])
    assert as_numbers(result(kept(Bottom(n), batches))) == list(rising[:n])


def test_a_sample_is_uniform_and_the_same_again():
    """Each item is drawn as often as any other, wherever it stands; a seed draws the same items, another others."""
    counts = np.zeros(40)
    for seed in range(1500):
        drawn = as_numbers(result(kept(Sample(4, seed=seed), [[0.0] * 7] * 5 + [[0.0] * 5])))
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 4
        counts[drawn] += 1
    # 1500 draws of 4 in 40 give 150 a place, with a standard deviation of 11.6.
    assert np.abs(counts - 150).max() < 5 * 11.6
    stream = [[0.0] * 40]
    assert result(kept(Sample(4, seed=1), stream)) == result(kept(Sample(4, seed=1), stream))
    assert result(kept(Sample(4, seed=1), stream)) != result(kept(Sample(4, seed=2), stream))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize(("kind", "shape"), [(Image, (3, 8, 8)), (Video, (2, 3, 8, 8))])
def test_only_what_is_kept_is_copied(kind, shape, dtype):
    """Memory is that of n items, however large the batches are and however many of them there were."""
    keeping = SelectedItems(Top(3))
    for batch in range(20):
        keeping.add(kind(torch.full((50, *shape), batch, dtype=dtype), score=torch.rand(50)))
    media = keeping.batch(keeping.places())
    size = 3 * int(np.prod(shape)) * dtype.itemsize
    assert media.nbytes == size
    # Nothing else hangs on it.
    assert len(pickle.dumps(media)) < size + 2500


def test_a_later_change_does_not_reach_what_is_kept():
    """What is kept is as it was logged."""
    image = torch.full((1, 4, 4), 7, dtype=torch.uint8)
    keeping = SelectedItems(First(1))
    keeping.add(Image(image))
    image.zero_()
    (item,) = keeping.batch(keeping.places()).encode("x").items
    assert np.unique(PIL.Image.open(io.BytesIO(item.data))).tolist() == [7]


@pytest.mark.parametrize("selection", [First(3), Last(3), Sample(3), Top(3), Bottom(3)], ids=repr)
@pytest.mark.parametrize("kind", [Image, Video])
def test_scores_on_a_device_are_not_waited_for(selection, kind, monkeypatch):
    """Batches on a device are looked at without a value of theirs being asked for: a fake tensor has none."""
    # The device has not come so far.
    monkeypatch.setattr(HostCopy, "has_arrived", lambda _: False)
    keeping = SelectedItems(selection)
    with FakeTensorMode():
        pixels = torch.empty(5, *[2] * (kind is Video), 3, 8, 8, device="cuda")
        keeping.add(kind(pixels, score=torch.empty(5, device="cuda")))
    assert keeping.media_type == kind.__name__


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("top8", Top(8)),
            ("top(3)", Top(3)),
            ("bottom12", Bottom(12)),
            ("first", First(8)),
            (" last1 ", Last(1)),
            ("sample(5)", Sample(5)),
            (Sample(2, seed=3), Sample(2, seed=3)),
        ],
        ids=repr,
    )
    def test_names_and_objects(self, asked, expected):
        """A selection is asked for by its name and a number, or as an object."""
        assert repr(selection_of(asked)) == repr(expected)

    @pytest.mark.parametrize("asked", ["p95", "top8.5", "mean", "", 8, max, Top], ids=repr)
    def test_what_selects_nothing(self, asked):
        """What is no selection is refused with an example of one."""
        message = (
            f"reduce_fx={asked!r} selects no media; expected first, last, sample, top or bottom with a number of items,"
            ' such as reduce_fx="top8", an object such as Top(8), or a list of these.'
        )
        with pytest.raises(MisconfigurationException, match=re.escape(message)):
            selection_of(asked)

    @pytest.mark.parametrize(
        ("asked", "end"),
        [
            ("best8", "or a list of these. Did you mean 'top8' or 'bottom8'?"),
            ("tpo8", "or a list of these. Did you mean 'top8'?"),
            ("random 3", "or a list of these. Did you mean 'sample3'?"),
            (
                "top8, last(2)",
                "reduce_fx='top8, last(2)' is one string; expected a list, reduce_fx=['top8', 'last(2)'].",
            ),
        ],
    )
    def test_what_was_meant(self, asked, end):
        """The error guesses it."""
        with pytest.raises(MisconfigurationException, match=re.escape(end) + "$"):
            selection_of(asked)

    @pytest.mark.parametrize("n", [0, -1, 2.0, True, "8"], ids=repr)
    def test_a_number_of_items(self, n):
        """The number is an integer of at least 1."""
        with pytest.raises(
            ValueError, match=re.escape(f"Top got n={n!r}; expected an integer of at least 1, for example")
        ):
            Top(n)

    @pytest.mark.parametrize("seed", [-1, 0.5, None], ids=repr)
    def test_a_seed(self, seed):
        """A seed is an integer from 0 on."""
        with pytest.raises(
            ValueError, match=re.escape(f"Sample got seed={seed!r}; expected an integer of at least 0.")
        ):
            Sample(4, seed=seed)
