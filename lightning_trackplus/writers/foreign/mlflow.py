"""Lightning's MLFlowLogger: media as artifacts of the run, and images in MLflow's charts as well."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
from typing_extensions import assert_never

from lightning_trackplus.formats.csv_rows import row_bytes
from lightning_trackplus.formats.layout import MEDIA_FOLDER, media_folder
from lightning_trackplus.lightning_internals import lightning_loggers
from lightning_trackplus.record import Encoded, ImagePayload, Payload, Record, TensorBoardEvent

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger

_COLUMNS = ("file", "caption", "score")
_KEY = re.compile(r"[a-zA-Z0-9_\-. ][a-zA-Z0-9_\-. /]{0,99}")


class MLFlowWriter:
    """Writes each item as an artifact ``media/<name>/<step>-<index>.<suffix>``, as it lies in a run directory.

    Captions and scores are in ``media/<name>/<step>-<index>-captions.csv``, under the index of the first item. Images
    are also given to ``log_image``, which shows them by step. MLflow encodes them anew and shows one under each key:
    of several, each has its own, ``<name>/1`` …. ``log_table`` is not used: it lists all tables of a run in one tag,
    which is full after about a hundred.

    Args:
        logger: The logger. It begins its run here, on the thread that logs the numbers: two threads that come first
            could begin two.
    """

    def __init__(self, logger: MLFlowLogger) -> None:
        self._logger = logger
        self._written: dict[str, tuple[int, int]] = {}
        _ = logger.run_id

    def write(self, record: Record[Payload]) -> None:
        """Write the media of one record."""
        media: dict[str, Encoded] = {}
        for name, value in record.values.items():
            match value:
                case Encoded():
                    media[lightning_loggers.prefixed(self._logger, name)] = value
                case float() | int() | TensorBoardEvent():
                    pass
                case _:
                    assert_never(value)
        if media:
            self._log_files(record.step, media)
        for name, one in media.items():
            if isinstance(one, ImagePayload):
                self._log_images(name, one, record.step, int(record.wall_time * 1000))

    def flush(self) -> None:
        """Do nothing: what was written is in MLflow's store."""

    def close(self) -> None:
        """Do nothing: the run is the logger's."""

    def _log_files(self, step: int, media: dict[str, Encoded]) -> None:
        with tempfile.TemporaryDirectory() as root:
            for name, one in media.items():
                folder = Path(root, media_folder(name))
                folder.mkdir(parents=True)
                self._store(folder, name, step, one)
            self._logger.experiment.log_artifacts(self._logger.run_id, root)

    def _store(self, folder: Path, name: str, step: int, media: Encoded) -> None:
        """Write the items of one payload, and a table about them if they have captions or scores."""
        latest, count = self._written.get(name, (step, 0))
        first = count if latest == step else 0
        self._written[name] = (step, first + len(media.items))
        rows = [row_bytes(_COLUMNS)]
        for index, item in enumerate(media.items, start=first):
            file = folder / f"{step:010d}-{index:03d}{item.suffix}"
            file.write_bytes(item.data)
            rows.append(row_bytes([file.name, item.caption, item.score]))
        if any(item.caption or item.score is not None for item in media.items):
            (folder / f"{step:010d}-{first:03d}-captions.csv").write_bytes(b"".join(rows))

    def _log_images(self, name: str, images: ImagePayload, step: int, milliseconds: int) -> None:
        key = name if _KEY.fullmatch(name) else media_folder(name).removeprefix(f"{MEDIA_FOLDER}/")
        for number, item in enumerate(images.items, start=1):
            with PIL.Image.open(io.BytesIO(item.data)) as image:
                self._logger.experiment.log_image(
                    self._logger.run_id,
                    image,
                    key=key if len(images.items) == 1 else f"{key}/{number}",
                    step=step,
                    timestamp=milliseconds,
                )
