"""``logger.experiment``: a SummaryWriter whose events go through delivery. This module needs tensorboard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter
from typing_extensions import override

from lightning_trackplus.logger.null_experiment import NO_LOG
from lightning_trackplus.media.tensors import as_tensor
from lightning_trackplus.media.video import Video
from lightning_trackplus.record import OwnEvent, TensorBoardEvent
from lightning_trackplus.run.run_writer import RunWriter
from lightning_trackplus.writers.tensorboard import SubRunEvent
from lightning_trackplus.writers.tensorboard_media import media_values


class DeliveredSummaryWriter(SummaryWriter):
    """torch's SummaryWriter with all its ``add_…`` methods, whose events are written by the delivery thread.

    ``add_scalars`` and ``add_hparams`` write to the same folders as in torch, and also through delivery. Only
    ``add_embedding`` writes its files itself.
    """

    def __init__(self, run: RunWriter) -> None:
        self._run = run
        self._file_writer = self._sub_run("")
        super().__init__()

    @property
    def log_dir(self) -> str:
        """The run directory."""
        return str(self._run.allocation.directory)

    @log_dir.setter
    def log_dir(self, _: str) -> None:
        """Ignore the directory that torch's constructor assigns."""

    @property
    def log(self) -> NoReturn:
        """Raise an error that says what to write instead; a run of W&B has this method."""
        raise AttributeError(NO_LOG)

    @override
    def flush(self) -> None:
        """Wait until all added events are in the files."""
        self._run.flush()

    @override
    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add scalars as curves of one chart; each curve is a run below this one, ``<main_tag>_<curve>``."""
        walltime = time.time() if walltime is None else walltime
        for curve, value in tag_scalar_dict.items():
            run = self._sub_run(f"{main_tag.replace('/', '_')}_{curve}")
            run.add_summary(_scalar(main_tag, value), global_step, walltime)

    @override
    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Add hyper-parameters with metrics, as a run below this one.

        Raises:
            TypeError: If one of them is not a dict.
        """
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        run = self._sub_run(run_name or str(time.time()))
        session = hparams(hparam_dict, metric_dict, hparam_domain_discrete)  # type: ignore[no-untyped-call]
        for summary in (*session, *(_scalar(name, value) for name, value in metric_dict.items())):
            run.add_summary(summary, global_step)

    @override
    def add_video(
        self,
        tag: str,
        vid_tensor: Any,
        global_step: int | None = None,
        fps: float = 4,
        walltime: float | None = None,
    ) -> None:
        """Add videos to TensorBoard's image tab, one sample each; the delivery thread encodes them as animated WebP.

        Args:
            tag: The name.
            vid_tensor: The frames, shape ``(N, T, C, H, W)``, uint8 in [0, 255] or float in [0, 1].
            global_step: The global step.
            fps: Frames per second.
            walltime: Seconds since 1970-01-01 UTC. The default is the current time.

        Raises:
            ValueError: If the shape or the dtype is not supported.
        """
        # Of a tensor, `Video` always reads the channels first; of an array, it would prefer them last.
        frames = vid_tensor if isinstance(vid_tensor, torch.Tensor) else as_tensor(np.asarray(vid_tensor))
        if frames.ndim != 5 or frames.shape[2] not in {1, 3, 4}:  # noqa: PLR2004  as the message says
            raise ValueError(
                f"add_video got frames of shape {tuple(frames.shape)}; expected (N, T, C, H, W), where C is 1, 3 or 4."
            )
        step = 0 if global_step is None else int(global_step)
        wall_time = time.time() if walltime is None else walltime
        video = _VideoEvent(tag, Video(frames, fps), step, wall_time)
        self._run.put_event(OwnEvent(tag, video, step, wall_time, folder="", is_media=True))

    def _sub_run(self, folder: str) -> FileWriter:
        # Parts that lead out of the run directory are left out.
        parts = [part for part in folder.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
        return DeliveredFileWriter(self._run, "/".join(parts))

    def _get_file_writer(self) -> FileWriter:
        if self.all_writers is None:
            # torch does not annotate these, and mypy infers None.
            self.file_writer = self._file_writer  # type: ignore[assignment]
            self.all_writers = {"": self._file_writer}  # type: ignore[assignment]
        return self._file_writer


@dataclass(frozen=True, slots=True)
class _VideoEvent:
    """An event that is created when its video is encoded."""

    tag: str
    video: Video
    step: int
    wall_time: float

    @property
    def nbytes(self) -> int:
        return self.video.nbytes

    def snapshot(self) -> _VideoEvent:
        return _VideoEvent(self.tag, self.video.snapshot(), self.step, self.wall_time)

    def encode(self, name: str) -> TensorBoardEvent:
        values = media_values(self.tag, self.video.encode(name))
        event = Event(step=self.step, wall_time=self.wall_time, summary=Summary(value=values))
        return TensorBoardEvent(event, event.ByteSize())


def _scalar(tag: str, value: Any) -> Summary:
    return scalar(tag, value)  # type: ignore[no-untyped-call]


# The plugins of TensorBoard whose tensors are numbers or describe how numbers are shown.
_NUMBER_PLUGINS = {"scalars", "custom_scalars", "hparams"}


class DeliveredFileWriter(FileWriter):
    """torch's FileWriter without its own event file and thread."""

    def __init__(self, run: RunWriter, folder: str) -> None:
        self.event_writer = _EventSink(run, folder)


class _EventSink:
    """The interface of an EventFileWriter that a FileWriter uses."""

    def __init__(self, run: RunWriter, folder: str) -> None:
        self._run = run
        self._folder = folder
        self.flush = self.close = run.flush

    def get_logdir(self) -> str:
        return str(self._run.allocation.directory)

    def add_event(self, event: Event) -> None:
        size = event.ByteSize()
        value = SubRunEvent(event, size, self._folder) if self._folder else TensorBoardEvent(event, size)
        tags = [one.tag for one in event.summary.value]
        name = tags[0] if tags else event.WhichOneof("what")
        self._run.put_event(OwnEvent(name, value, event.step, event.wall_time, self._folder, _is_media(event)))

    def reopen(self) -> None:
        """Do nothing: delivery reopens files by itself."""


def _is_media(event: Event) -> bool:
    """Return whether an event holds values that are not numbers, so that it may be dropped."""
    return any(
        value.WhichOneof("value") not in {None, "simple_value"}
        and value.metadata.plugin_data.plugin_name not in _NUMBER_PLUGINS
        for value in event.summary.value
    )
