"""The media of a run in its ``media.csv`` and in its event files. Importing this needs tensorboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_trackplus.reading import MediaRecord
from lightning_trackplus.record import Histograms
from lightning_trackplus.run_directory import MEDIA_INDEX
from lightning_trackplus.stored.difference import Difference
from lightning_trackplus.writers.media_values import CAPTIONS_SUFFIX


def media_differences(media: Sequence[MediaRecord], tags: Iterable[str], directory: Path) -> list[Difference]:
    """Return which names of media do not stand in both, and which files are missing.

    Args:
        media: What ``media.csv`` says.
        tags: The tags of media in the event files.
        directory: The run directory of ``media.csv``, as the records have it.
    """
    found = set(tags)
    shown = {name: _tags_of(name, media_of_name) for name, media_of_name in _by_name(media).items()}
    without_tag = [name for name, own in shown.items() if not found & (own - {name + CAPTIONS_SUFFIX})]
    without_row = sorted(found.difference(*shown.values()))
    return [
        *(Difference(name, None, f"media in {MEDIA_INDEX} alone") for name in without_tag),
        *(Difference(tag, None, "media in TensorBoard alone") for tag in without_row),
        *(
            Difference(one.name, one.step, f"{one.path.relative_to(directory).as_posix()} is missing")
            for one in media
            if not one.path.is_file()
        ),
    ]


def _by_name(media: Sequence[MediaRecord]) -> dict[str, list[MediaRecord]]:
    by_name: dict[str, list[MediaRecord]] = {}
    for one in media:
        by_name.setdefault(one.name, []).append(one)
    return by_name


def _tags_of(name: str, media: Sequence[MediaRecord]) -> set[str]:
    """Return the tags that a name may have; several histograms of a step have tags of their own."""
    histograms = Counter(one.step for one in media if one.kind == Histograms.kind)
    numbered = range(1, max(histograms.values(), default=0) + 1)
    return {name, name + CAPTIONS_SUFFIX, *(f"{name}/{number}" for number in numbered)}
