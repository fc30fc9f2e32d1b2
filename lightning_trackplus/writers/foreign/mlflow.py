"""Lightning's MLFlowLogger: media as artifacts of the run, and images in MLflow's charts as well."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image

from lightning_trackplus.formats.csv_rows import row_bytes
from lightning_trackplus.formats.layout import MEDIA_FOLDER, media_folder
from lightning_trackplus.record import ImagePayload, MediaPayload, Payload, Record
from lightning_trackplus.writers.foreign.base import ForeignWriter, about

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger

_COLUMNS = ("file", "caption", "score")
_KEY = re.compile(r"[a-zA-Z0-9_\-. ][a-zA-Z0-9_\-. /]{0,99}")


class MLFlowWriter(ForeignWriter):
    """Writes each item as an artifact ``media/<name>/<step>-<index>.<suffix>``, as it lies in a run directory.

    Captions and scores are in ``media/<name>/<step>-<index>-captions.csv``, under the index of the first item. Images
    are also given to ``log_image``, which shows them by step. MLflow encodes them again and shows one image per key:
    several images get the keys ``<name>/1``, ``<name>/2`` and so on. ``log_table`` is not used: it lists all tables of
    a run in one tag, which is full after about a hundred.
    """

    def __init__(self, logger: MLFlowLogger) -> None:
        super().__init__(logger)
        self._written: dict[str, tuple[int, int]] = {}
        _ = logger.run_id

    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        name = self._prefixed(name)
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root, media_folder(name))
            folder.mkdir(parents=True)
            self._store(folder, name, record.step, media)
            self._logger.experiment.log_artifacts(self._logger.run_id, root)
        if isinstance(media, ImagePayload):
            self._log_images(name, media, record.step, int(record.wall_time * 1000))

    def _store(self, folder: Path, name: str, step: int, media: MediaPayload) -> None:
        """Write the items, and a table of their captions and scores if they have any."""
        latest, count = self._written.get(name, (step, 0))
        first = count if latest == step else 0
        self._written[name] = (step, first + len(media.items))
        rows = [row_bytes(_COLUMNS)]
        for index, item in enumerate(media.items, start=first):
            file = folder / f"{step:010d}-{index:03d}{item.suffix}"
            file.write_bytes(item.data)
            rows.append(row_bytes([file.name, item.caption, item.score]))
        if any(map(about, media.items)):
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
