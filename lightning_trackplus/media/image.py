"""Images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, cast, get_args

from torch import Tensor
from typing_extensions import Self, override

from lightning_trackplus.media.base import Caption, Media
from lightning_trackplus.media.images.annotations import Annotations, Notation, annotations_of
from lightning_trackplus.media.images.drawing import annotated, arranged, grid_size
from lightning_trackplus.media.images.file_formats import ImageFormat, check_size, encode_image
from lightning_trackplus.media.images.pixels import OneImage, batches
from lightning_trackplus.media.images.value_range import (
    AnyRange,
    DetectedRange,
    checked_range,
    detected_range,
    on_host,
    pictures_of,
    range_of_copies,
    ranges_of_copies,
)
from lightning_trackplus.media.tensors import snapshot_tensor
from lightning_trackplus.record import ImagePayload, Item
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import check_choice

_FORMATS = get_args(ImageFormat)


class Sheet(NamedTuple):
    """The files that images become.

    Attributes:
        format: The file format.
        columns: The columns of a grid in one file; None if each image has its own file.
    """

    format: ImageFormat
    columns: int | None


class Pixels(NamedTuple):
    """One image, as a part of its batch, so that a batch can be copied at once.

    Attributes:
        batch: The images of its batch, shape ``(N, C, H, W)``.
        place: Its index in the batch.
        is_own: Whether no other code can change them.
        value_range: Which values are black and white.
        sheet: The file it becomes, or a part of.
        annotations: The boxes and masks drawn on it.
    """

    batch: Tensor
    place: int
    is_own: bool
    value_range: AnyRange
    sheet: Sheet
    annotations: Annotations | None = None


class Image(Media[Pixels]):
    """One image or a batch of them, written as PNG and shown in TensorBoard's image tab.

    Args:
        pixels: A tensor or an array of shape ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``, a batch
            ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``, a PIL image, a path of an image
            file, or a list of any of these. C is 1 (grey), 3 (RGB) or 4 (RGBA). Where a shape can be
            read both ways, a tensor has its channels first and an array has them last, and three
            dimensions that begin or end with 1, 3 or 4 are one image. The dtype is uint8 in [0, 255],
            bool, or any float in [0, 1] or [0, 255]: a batch with a pixel above 2 is in [0, 255].
            Pixels outside are clipped, pixels that are NaN are magenta, with a warning that counts them.
        caption: A line about the image, or a list with one for each.
        score: A number for the image, or one for each, shape ``(N,)``.
        boxes: Boxes to draw, for each image or the only one, as `wandb.Image` takes them:
            ``{"predictions": {"box_data": [{"position": {"minX": 0.1, "maxX": 0.5, "minY": 0.2, "maxY":
            0.9}, "class_id": 1, "box_caption": "a car", "scores": {"p": 0.9}}], "class_labels": {1:
            "car"}}}``. A position is ``minX``, …, or ``middle``, ``width`` and ``height``, in fractions of
            the image's size, or with ``"domain": "pixel"`` in pixels. The ``box_data`` may also be a
            tensor of shape ``(K, 4)``, minX, minY, maxX and maxY in pixels, or ``(K, 5)``, with the class.
        masks: Masks to draw, for each image or the only one, as `wandb.Image` takes them:
            ``{"predictions": {"mask_data": classes, "class_labels": {1: "car"}}}``, where ``classes`` are
            whole numbers of shape ``(H, W)``, stretched over the image if they are of another size, or with a
            ``"path"`` of an image file in place of ``"mask_data"``. Class 0 is not drawn unless it has a label.
        format: ``"png"``, ``"webp"``, lossless and smaller, or ``"jpeg"`` of quality 90, much smaller; it
            has no transparency, which becomes white.
        value_range: Which values are black and white, two finite numbers; then pixels are real numbers of
            any dtype. Bools have no range.
        grid: Arrange all images in one file, with this number of columns.

    Raises:
        ValueError: If the shape, the dtype or an option is not one of these, boxes or masks are not in the
            notation, there is not one caption, score, dict of boxes or of masks for each image, or an image is
            too large for its format.
        TypeError: If an image is of another type.
        FileNotFoundError: If there is no file at a path.

    Examples:
        >>> import torch
        >>> Image(torch.rand(8, 3, 32, 32), caption=[f"sample {i}" for i in range(8)])
        <Image: 8 items>
        >>> Image(torch.randn(3, 32, 32), value_range=(-3, 3), format="webp")
        <Image: 1 item>
    """

    def __init__(
        self,
        pixels: OneImage | Sequence[OneImage],
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
        *,
        boxes: Notation = None,
        masks: Notation = None,
        format: ImageFormat = "png",  # noqa: A002  as users of Pillow and W&B know it
        value_range: tuple[float, float] | None = None,
        grid: int | None = None,
    ) -> None:
        check_choice("Image", "format", format, _FORMATS)
        sheet = Sheet(format, None if grid is None else _checked_columns(grid))
        black_and_white: AnyRange = None if value_range is None else checked_range(value_range, "Image")
        is_one = isinstance(pixels, Tensor) or not is_list(pixels)
        several: Sequence[OneImage] = [cast("OneImage", pixels)] if is_one else cast("Sequence[OneImage]", pixels)
        has_range = value_range is not None
        parts = [part for one in several for part in batches(one, has_range=has_range)]
        if black_and_white is None:
            black_and_white = detected_range([part.pixels for part in parts], are_batches=True)
        items = [
            Pixels(batch, place, is_own, black_and_white, sheet)
            for batch, is_own in parts
            for place in range(len(batch))
        ]
        super().__init__(items, caption, score)
        sizes = {_size(part.pixels) for part in parts}
        for height, width in sizes if sheet.columns is None else [grid_size(sizes, len(items), sheet.columns)]:
            check_size("Image", height, width, format)
        if boxes is not None or masks is not None:
            drawn = annotations_of(boxes, masks, len(items))
            # Masks can be the caller's even where the pixels are not.
            self._items = tuple(
                item._replace(annotations=one, is_own=False) for item, one in zip(items, drawn, strict=True)
            )

    @property
    @override
    def nbytes(self) -> int:
        """Memory of pixels and masks in bytes."""
        # It runs on the training thread, where a loop costs less than a generator.
        pixels = 0
        for item in self._items:
            pixels += item.batch.nbytes // len(item.batch)
        return pixels + sum(item.annotations.nbytes for item in self._items if item.annotations)

    @override
    def _copied(self) -> Self:
        """Copy a whole batch at once."""
        first = self._items[0]
        if len(first.batch) != len(self) or any(item.batch is not first.batch for item in self._items):
            items = list(map(self.snapshot_item, self._items))
            ranges = ranges_of_copies([item.value_range for item in items], [item.batch for item in items])
            ranged = (item._replace(value_range=one) for item, one in zip(items, ranges, strict=True))
            return self._with(tuple(ranged), self._captions, self._scores)
        if first.is_own:
            return self
        copy = snapshot_tensor(first.batch)
        value_range = range_of_copies(first.value_range, [copy], len(self))
        own = tuple(_own(item, copy, item.place, value_range) for item in self._items)
        return self._with(own, self._captions, self._scores)

    def in_one_range(self) -> Self:
        """Return the same images, with one detected range for all whose range is detected."""
        detected = [item.batch for item in self._items if isinstance(item.value_range, DetectedRange)]
        together = DetectedRange(list({id(batch): batch for batch in detected}.values()), len(detected))
        items = tuple(
            item._replace(value_range=together) if isinstance(item.value_range, DetectedRange) else item
            for item in self._items
        )
        return self._with(items, self._captions, self._scores)

    @override
    def encode(self, name: str) -> ImagePayload:
        """Return the images as files."""
        ranged_pixels = (
            (on_host(item.batch[item.place], has_range=isinstance(item.value_range, tuple)), item.value_range)
            for item in self._items
        )
        pictures = [
            annotated(picture, item.annotations, name) if item.annotations else picture
            for picture, item in zip(pictures_of(ranged_pixels, f"Image {name!r}"), self._items, strict=True)
        ]
        scores = [None] * len(self) if self._scores is None else self._scores.tolist()
        items: list[Item] = []
        sizes = []
        for sheet, places in self._sheets():
            if sheet.columns is None:
                picture, caption, score = pictures[places[0]], self._captions[places[0]], scores[places[0]]
            else:
                picture = arranged([pictures[place] for place in places], sheet.columns)
                caption, score = _in_one([self._captions[place] for place in places]), None
            sizes.append(picture.shape[1:])
            text = None if caption is None else str(caption)
            items.append(Item(encode_image(picture, sheet.format), f".{sheet.format}", text, score))
        height, width = sizes[0]
        return ImagePayload(tuple(items), width, height)

    @override
    def snapshot_item(self, item: Pixels) -> Pixels:
        if item.is_own and len(item.batch) == 1:
            return item
        return _own(item, snapshot_tensor(item.batch.narrow(0, item.place, 1)), 0, item.value_range)

    def _sheets(self) -> list[tuple[Sheet, list[int]]]:
        """Return the files, each with the indices of its images."""
        files: dict[tuple[Sheet, int | None], list[int]] = {}
        for place, item in enumerate(self._items):
            files.setdefault((item.sheet, place if item.sheet.columns is None else None), []).append(place)
        return [(sheet, places) for (sheet, _), places in files.items()]


def _checked_columns(grid: Any) -> int:
    if not isinstance(grid, Integral) or isinstance(grid, bool) or grid < 1:
        raise ValueError(f"Image got grid={grid!r}; expected a number of columns, an integer of at least 1.")
    return int(grid)


def _in_one(captions: Sequence[Caption]) -> str | None:
    """Return captions joined, or the caption that all share."""
    texts = ["" if caption is None else str(caption) for caption in captions]
    return (" | ".join(texts) if len(set(texts)) > 1 else texts[0]) or None


def _own(item: Pixels, batch: Tensor, place: int, value_range: AnyRange) -> Pixels:
    drawn = item.annotations and item.annotations.snapshot()
    return Pixels(batch, place, True, value_range, item.sheet, drawn)


def _size(batch: Tensor) -> tuple[int, int]:
    height, width = batch.shape[2:]
    return height, width
