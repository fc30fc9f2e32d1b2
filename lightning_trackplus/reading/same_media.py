"""The media of a run in its ``media.csv`` and in its event files. Importing this needs tensorboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lightning_trackplus.formats.event_files import CAPTIONS_SUFFIX
from lightning_trackplus.formats.layout import MEDIA_INDEX
from lightning_trackplus.formats.media_csv import MediaRecord
from lightning_trackplus.reading.difference import Difference
from lightning_trackplus.record import HistogramPayload


def media_differences(
    media: Sequence[MediaRecord], in_events: Mapping[str, Counter[int]], directory: Path
) -> list[Difference]:
    """Return which names of media do not stand in both, which not at the same steps, and which files are missing."""
    found = set(in_events)
    by_name = _by_name(media)
    shown = {name: _tags_of(name, media_of_name) for name, media_of_name in by_name.items()}
    without_tag = [name for name, own in shown.items() if not found & (own - {name + CAPTIONS_SUFFIX})]
    without_row = sorted(found.difference(*shown.values()))
    return [
        *(Difference(name, None, f"media in {MEDIA_INDEX} alone") for name in without_tag),
        *(Difference(tag, None, "media in TensorBoard alone") for tag in without_row),
        *_other_counts({name: one for name, one in by_name.items() if name not in without_tag}, in_events, shown),
        *(
            Difference(one.name, one.step, f"{one.path.relative_to(directory).as_posix()} is missing")
            for one in media
            if not one.path.is_file()
        ),
    ]


def _other_counts(
    by_name: Mapping[str, Sequence[MediaRecord]],
    in_events: Mapping[str, Counter[int]],
    shown: Mapping[str, set[str]],
) -> Iterator[Difference]:
    """Yield the steps at which a name has not as many items in both."""
    claims = Counter(tag for tags in shown.values() for tag in tags)
    for name, media in by_name.items():
        if any(claims[tag] > 1 for tag in shown[name]):
            continue  # An event may be of this name or of another one.
        in_index = Counter(one.step for one in media)
        tags = shown[name] - {name + CAPTIONS_SUFFIX}
        in_tensorboard = sum((in_events.get(tag, Counter[int]()) for tag in tags), Counter[int]())
        for step in sorted(in_index | in_tensorboard):
            one, other = in_index[step], in_tensorboard[step]
            if one != other:
                yield Difference(name, step, _what(one, other))


def _what(in_index: int, in_tensorboard: int) -> str:
    if not in_tensorboard:
        return f"{_items(in_index)} in {MEDIA_INDEX} alone"
    if not in_index:
        return f"{_items(in_tensorboard)} in TensorBoard alone"
    return f"{_items(in_index)} in {MEDIA_INDEX}, {in_tensorboard} in TensorBoard"


def _items(count: int) -> str:
    return f"{count} {'item' if count == 1 else 'items'}"


def _by_name(media: Sequence[MediaRecord]) -> dict[str, list[MediaRecord]]:
    by_name: dict[str, list[MediaRecord]] = {}
    for one in media:
        by_name.setdefault(one.name, []).append(one)
    return by_name


def _tags_of(name: str, media: Sequence[MediaRecord]) -> set[str]:
    """Return the tags that a name may have; several histograms of a step have tags of their own."""
    histograms = Counter(one.step for one in media if one.kind == HistogramPayload.kind)
    numbered = range(1, max(histograms.values(), default=0) + 1)
    return {name, name + CAPTIONS_SUFFIX, *(f"{name}/{number}" for number in numbered)}
