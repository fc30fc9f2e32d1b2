"""Inputs of a module, logged without touching it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.base import LateCaption, Media
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.selection import First, Selection, selection_of
from lightning_trackplus.media.text import Text
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import did_you_mean
from lightning_trackplus.runtime.warn import WarnOnce

if TYPE_CHECKING:
    import lightning.pytorch as pl

_STEPS = {"train": "training_step", "val": "validation_step", "test": "test_step"}
_INPUTS = ("image", "images", "pixel_values", "input", "inputs", "x", "audio", "waveform", "text", "texts")
_TARGETS = ("label", "labels", "target", "targets", "y")
_PREDICTIONS = ("pred", "preds", "prediction", "predictions", "y_hat", "logits")
_SCORES = ("score", "scores", "loss_per_sample", "losses")


class BatchSamples:
    """Logs inputs as ``<stage>/samples``, with the target and the prediction of each as its caption.

    Inputs are what stands first in a batch, or under a name such as ``image``; targets what stands second,
    or under a name such as ``label``. Predictions and scores are what the step returns under names such as
    ``preds`` and ``scores``.

    Raises:
        MisconfigurationException: If a stage or a selection is none.
    """

    def __init__(self, asked: Mapping[str, int | str | Selection]) -> None:
        if not isinstance(asked, Mapping):
            raise MisconfigurationException(
                f"TrackPlus got samples={asked!r}; expected a number or a selection for each stage, such as"
                ' samples={"val": "top8"}.'
            )
        if unknown := [stage for stage in asked if stage not in _STEPS]:
            raise MisconfigurationException(
                f"TrackPlus(samples=…) has {', '.join(map(repr, unknown))}; the stages are 'train', 'val' and 'test'."
                f"{did_you_mean(str(unknown[0]), list(_STEPS))}"
            )
        if lists := [stage for stage, one in asked.items() if is_list(one)]:
            raise MisconfigurationException(
                f"TrackPlus(samples=…) has {asked[lists[0]]!r} for {lists[0]!r}; give one number or one selection for"
                ' each stage, such as samples={"val": "top8"}.'
            )
        self._selections = {
            stage: First(one) if isinstance(one, int) else selection_of(one) for stage, one in asked.items()
        }
        self._warn_once = WarnOnce()

    def log(self, module: pl.LightningModule, stage: str, batch: Any, outputs: Any) -> None:
        """Log the inputs of one batch."""
        if (selection := self._selections.get(stage)) is None:
            return
        inputs = _part(batch, _INPUTS, 0)
        try:
            self._log(module, stage, selection, inputs, _media(module, inputs, _part(batch, _TARGETS, 1), outputs))
        except (TypeError, ValueError) as error:
            # Nobody wrote this call: what cannot be shown must not end the training.
            self._warn(stage, str(error).rstrip("."))

    def _log(
        self, module: pl.LightningModule, stage: str, selection: Selection, inputs: Any, media: Media[Any] | None
    ) -> None:
        if media is None:
            self._warn(
                stage,
                f"the inputs of a batch are {_described(inputs)}, which are neither images of shape (N, C, H, W), nor"
                " strings, nor sounds of shape (N, C, T) of a module with a sample_rate",
            )
        elif selection.needs_scores and media.scores is None:
            self._warn(
                stage,
                f"{selection!r} selects by score, and {_STEPS[stage]} does not return a dict with a score for each"
                " sample under the name 'score'",
            )
        else:
            module.log(f"{stage}/samples", media, reduce_fx=selection)  # type: ignore[arg-type]  # the router takes it

    def _warn(self, stage: str, reason: str) -> None:
        self._warn_once(
            f"TrackPlus(samples=…) logs nothing of {stage!r}: {reason}. Log them in the module, for example with"
            " self.log(name, Image(…)).",
            key=stage,
        )


def _part(whole: Any, names: Sequence[str], position: int | None = None) -> Any:
    """Return the item under one of some names, or at a position; None if there is none."""
    if isinstance(whole, Mapping):
        return next((whole[name] for name in names if name in whole), None)
    if is_list(whole) and not _is_text(whole):
        return whole[position] if position is not None and position < len(whole) else None
    return whole if position == 0 else None


def _media(module: pl.LightningModule, inputs: Any, targets: Any, outputs: Any) -> Media[Any] | None:
    """Return the inputs of a batch as a medium; None if their kind cannot be recognized."""
    predictions, scores = _part(outputs, _PREDICTIONS), _part(outputs, _SCORES)
    count = len(inputs) if (isinstance(inputs, Tensor) or is_list(inputs)) and not _is_scalar(inputs) else 0
    captions: Any = list(_captions(count, target=targets, predicted=predictions)) or None
    scores = scores.reshape(-1) if _is_batch(scores, count) and scores.numel() == count else None
    if _is_text(inputs):
        return Text(list(inputs), captions, scores)
    if not isinstance(inputs, Tensor) or not inputs.numel():
        return None
    if inputs.ndim == 4 and inputs.shape[1] in (1, 3, 4):  # noqa: PLR2004  images are (N, C, H, W)
        return Image(inputs, captions, scores)
    rate = getattr(module, "sample_rate", None) or module.hparams.get("sample_rate")
    if rate and inputs.is_floating_point() and inputs.ndim == 3 and inputs.shape[1] in (1, 2):  # noqa: PLR2004  sounds are (N, C, T)
        return Audio(inputs, int(rate), captions, scores)
    return None


class _Described(LateCaption):
    """A caption with the target and the prediction of one sample; their values are read when it is written."""

    def __init__(self, index: int, parts: Mapping[str, Any]) -> None:
        self._index = index
        self._parts = parts

    def __str__(self) -> str:
        return ", ".join(f"{title} {_value(part[self._index])}" for title, part in self._parts.items())


def _captions(count: int, **parts: Any) -> Iterator[_Described]:
    """Yield a caption for each sample of what of the parts has a value, or scores of classes, for each."""
    fitting = {
        title: part.detach().clone() if isinstance(part, Tensor) else list(part)
        for title, part in parts.items()
        if _is_batch(part, count) or (_is_text(part) and len(part) == count)
    }
    if fitting:
        yield from (_Described(index, fitting) for index in range(count))


def _value(part: Any) -> str:
    if not isinstance(part, Tensor):
        return str(part)
    # Scores of classes stand for the class.
    number = part.argmax() if part.numel() > 1 else part.reshape(())
    return f"{number.item():.4g}"


def _is_text(value: Any) -> bool:
    return is_list(value) and bool(value) and all(isinstance(one, str) for one in value)


def _is_batch(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.ndim in (1, 2) and len(value) == count and value.numel() > 0


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.ndim


def _described(inputs: Any) -> str:
    if isinstance(inputs, Tensor):
        return f"{str(inputs.dtype).removeprefix('torch.')} of shape {tuple(inputs.shape)}"
    return f"of type {type(inputs).__name__}"
