"""Where the files of a run lie: a folder for any name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_trackplus.formats.layout import media_file, media_folder

# What no file system on Windows takes as a name, whatever follows a dot.
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
NAMES = [
    "",
    ".",
    "..",
    "../../etc",
    "/absolute",
    "val/img",
    "val-img",
    "val_img",
    "val//img",
    "val/img/",
    "Val/Img",
    "val img",
    "val.img",
    "val\\img",
    "con",
    "CON",
    "con.png",
    "nul",
    "com1",
    "lpt9",
    "🎉",
    "é",
    "e\u0301",
    "ß",
    "ss",
    "İ",
    "\u212a",  # The sign of the unit kelvin, whose lower case is k.
    "k",
    "a\0b",
    "a\nb",
    "a:b*c?d|e<f>g",
    "trailing. ",
    "x" * 300,
    "x" * 301,
    "x/" * 150,
    "\ud800",
    "\\ud800",
    "y" * 90 + "\ud800",
    "y" * 90 + "\\ud800",
]
# Names that are as alike as names can be.
ALIKE = st.text(st.sampled_from("aA-/_. é\ud800"), max_size=5)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_folder_of_any_name_is_one_that_every_file_system_takes(name, tmp_path):
    """A folder below media is made of safe letters alone, is no reserved name, and can be made."""
    folder = media_folder(name)

    assert re.fullmatch(r"media/[a-z0-9_-]{1,100}", folder)
    assert folder.removeprefix("media/") not in RESERVED
    (tmp_path / folder).mkdir(parents=True)
    assert (tmp_path / folder).resolve().parent == (tmp_path / "media").resolve()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("img", "media/img"),
        ("val/img", "media/val-img"),
        ("val/img_2", "media/val-img_2"),
        ("a/b/c", "media/a-b-c"),
        ("x" * 80, "media/" + "x" * 80),
    ],
)
def test_a_plain_name_can_be_read_in_its_folder(name, folder):
    """A name in small letters is its folder, with a dash for each slash."""
    assert media_folder(name) == folder


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Val: Hardest", "media/val-hardest--"),
        ("val-img", "media/val-img--"),
        ("con", "media/con--"),
        ("x" * 300, "media/" + "x" * 80 + "--"),
        ("🎉", "media/_--"),
    ],
    ids=ascii,
)
def test_another_name_is_told_apart_by_a_hash(name, start):
    """A name that had to be changed is read in its folder as far as it can be, and followed by a hash."""
    assert re.fullmatch(re.escape(start) + r"[0-9a-f]{8,}", media_folder(name))


@given(st.lists(st.text() | ALIKE | st.sampled_from(NAMES), unique=True))
@example(NAMES)
def test_two_names_never_share_a_folder(names):
    """Different names have different folders, also where capitals and small letters are the same."""
    folders = [media_folder(name).lower() for name in names]

    assert len(set(folders)) == len(names)


@given(st.text() | ALIKE | st.sampled_from(NAMES))
def test_a_name_that_looks_like_the_folder_of_another_has_its_own(name):
    """Not even a name made from the folder of another one, hash and all, leads there."""
    folder = media_folder(name)
    copies = {folder.removeprefix("media/"), folder.removeprefix("media/").replace("-", "/")} - {name}

    assert folder not in {media_folder(copy) for copy in copies}


@pytest.mark.parametrize("name", ["img", "val/img", "🎉", "con", ""], ids=ascii)
def test_a_media_file_is_one_that_is_not_there(name, tmp_path):
    """Each call after a file was written returns the path of the next."""
    paths = []
    for _ in range(3):
        paths.append(media_file(tmp_path, name, 7, ".png"))
        (tmp_path / paths[-1]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / paths[-1]).touch(exist_ok=False)

    assert paths == [f"{media_folder(name)}/0000000007-00{index}.png" for index in range(3)]


def test_a_gap_among_the_files_is_no_reason_to_write_over_one(tmp_path):
    """A path is free, whichever files were removed meanwhile."""
    folder = tmp_path / media_folder("img")
    folder.mkdir(parents=True)
    (folder / "0000000007-001.png").touch()

    for _ in range(3):
        file = tmp_path / media_file(tmp_path, "img", 7, ".png")
        file.touch(exist_ok=False)

    assert len(list(folder.iterdir())) == 4


@given(st.lists(st.integers(0, 10**10 - 1) | st.integers(0, 200), min_size=1, unique=True))
def test_files_sort_by_step(steps):
    """The order of the names is the order of the steps."""
    paths = {step: media_file(Path("nowhere"), "img", step, ".png") for step in steps}

    assert sorted(steps, key=paths.__getitem__) == sorted(steps)
