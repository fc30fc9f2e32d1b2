"""What is drawn on images: boxes and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from lightning_trackplus.media.images.boxes import Boxes, boxes_of_image
from lightning_trackplus.media.images.masks import Mask, masks_of_image
from lightning_trackplus.media.tensors import clone_to_host
from lightning_trackplus.runtime.lists import is_list

Notation: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None"
"""What belongs to the only image, or to each."""


class Annotations(NamedTuple):
    """What is drawn on one image.

    Attributes:
        boxes: The boxes.
        masks: The masks.
    """

    boxes: tuple[Boxes, ...] = ()
    masks: tuple[Mask, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory that the masks hold, in bytes."""
        return sum(mask.classes.nbytes for mask in self.masks)

    def snapshot(self) -> Annotations:
        """Return a copy that later changes to the caller's tensors do not reach; waits for no device."""
        return self._replace(masks=tuple(mask._replace(classes=clone_to_host(mask.classes)) for mask in self.masks))


def annotations_of(boxes: Notation, masks: Notation, count: int) -> list[Annotations]:
    """Return what is to be drawn on each image.

    Raises:
        ValueError: If something is not in the notation, or there is another number than of images.
        FileNotFoundError: If the path of a mask leads nowhere.
    """
    return [
        Annotations(boxes_of_image(*boxes_given), masks_of_image(*masks_given))
        for boxes_given, masks_given in zip(
            _one_each(boxes, "boxes", count), _one_each(masks, "masks", count), strict=True
        )
    ]


def _one_each(given: Notation, key: str, count: int) -> list[tuple[Any, str]]:
    """Return what was given for each image, and what to call it in a message."""
    if given is None:
        return [({}, key)] * count
    if isinstance(given, Mapping) and count == 1:
        return [(given, key)]
    if not is_list(given) or len(given) != count:
        number = len(given) if is_list(given) else f"a {type(given).__name__}"
        raise ValueError(
            f"Image got {count} item{'s' if count > 1 else ''} and {number} as {key}; give a list with a dict or None"
            " for each item."
        )
    return [({} if one is None else one, f"{key}[{index}]") for index, one in enumerate(given)]
