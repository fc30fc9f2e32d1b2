"""A payload of each kind, as media encode themselves."""

from __future__ import annotations

import io
import threading
import wave

import numpy as np
import PIL.Image

from lightning_trackplus.record import (
    AudioPayload,
    Counts,
    FilesPayload,
    HistogramPayload,
    ImagePayload,
    Item,
    Record,
    TableData,
    TablePayload,
    TextPayload,
    VideoPayload,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
SHADES = (10, 90, 200)
SAMPLES = (np.sin(np.arange(800) * 0.3) * 20000).astype("<i2")
BINS = Counts(np.array([0, 0.5, 1]), np.array([2.0, 4.0]), below=3, above=1)
CELLS = ((7, 0.5, "seven", True), (None, 1.5, "ünï, code", False))
MARKDOWN = ("### Epoch 3\n\n| a | b |\n|---|---|\n| 1 | 2 |", "zwei: ü")
HTML = "<html><head></head><body><p>ü</p></body></html>"


def png(pixels):
    return _saved(PIL.Image.fromarray(pixels), "PNG")


def pictures(count=2, suffix=".png"):
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    images = [_saved(PIL.Image.fromarray(PIXELS[index % 2]), kind) for index in range(count)]
    items = [Item(data, suffix, f"picture {index}", index + 0.5) for index, data in enumerate(images)]
    return ImagePayload(tuple(items), 9, 6)


def sounds():
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(SAMPLES.tobytes())
    return AudioPayload((Item(file.getvalue(), ".wav", None), Item(file.getvalue(), ".wav", "a tone")))


def videos():
    first, *others = [PIL.Image.new("RGB", (8, 4), (shade,) * 3) for shade in SHADES]
    moving = _saved(first, "WEBP", save_all=True, append_images=others, duration=250, lossless=True)
    return VideoPayload((Item(moving, ".webp", "brighter"),), 8, 4)


def films():
    return FilesPayload((Item(b"\0\0\0\x18ftypisom", ".mp4", "a film"), Item(b"OggS", ".ogg")), "video")


def texts():
    return TextPayload(tuple(Item(text.encode(), ".md", f"text {index}") for index, text in enumerate(MARKDOWN)))


def pages():
    return FilesPayload((Item(HTML.encode(), ".html", "a page"),), "html")


def files():
    return FilesPayload((Item(b"ply", ".ply", "a cloud", 0.5), Item(b"ply 2", ".ply")), "point_cloud")


def histograms(count=1):
    item = Item(b"low,high,count\n-inf,0,3\n0,0.5,2\n0.5,1,4\n1,inf,1\n", ".csv", "weights")
    return HistogramPayload((item,) * count, (BINS,) * count)


def tables():
    item = Item('n,x,s,b\n7,0.5,seven,True\n,1.5,"ünï, code",False\n'.encode(), ".csv", score=2.0)
    return TablePayload((item,), (TableData(("n", "x", "s", "b"), CELLS),))


KINDS = {
    "picture": pictures,
    "sound": sounds,
    "video": videos,
    "film": films,
    "text": texts,
    "page": pages,
    "file": files,
    "histogram": histograms,
    "table": tables,
}

HARD_NAMES = [
    "val/digits",
    "a.b c-d_e",
    "Ünï/😀",
    "x" * 300,
    "😀" * 90,
    "Case",
    "case",
    "../up",
    "/rooted",
    "",
    " ",
    "a//b",
    "nul\0",
    "two\nlines",
    "surrogate \ud800",
    "50%? a:b*<c>|\"d\"\\e'f'",
]


def record(values, step=22):
    """Return a record of epoch 3."""
    return Record(step, 3, 1.7e9, values)


def _saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def log_from_two_threads(logger, writer, count):
    """Log numbers on one thread, and media through a writer on this one, which has steps beyond them."""

    def log_numbers():
        for number in range(count):
            logger.log_metrics({"number": number}, step=number)

    thread = threading.Thread(target=log_numbers)
    thread.start()
    for step in range(30):
        writer.write(record({"beside": pictures(1)}, step=10_000 + step))
    thread.join()
