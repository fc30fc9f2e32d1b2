"""Media given to ``self.log``, through real Trainer runs and back from the files."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas
import PIL.Image
import plotly.graph_objects as go
import pytest
import soundfile
import torch

import tests.flavour as L
from lightning_trackplus import Audio, Figure, Image, Text, TrackPlus, TrackPlusLogger, Video
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey
from lightning_trackplus.media.selection import First, Last, Sample
from lightning_trackplus.routing.rank_sync import sync_epoch
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import LearningRateFinder
from tests.support.csv_files import read_metrics
from tests.support.thread_ranks import in_threads
from tests.support.training import LoggingModule, loader, quiet_trainer


def grey(level: float, count: int = 1) -> torch.Tensor:
    """Return images of one shade, by which they can be told apart in the files."""
    return torch.full((count, 1, 4, 4), level / 255)


def run(tmp_path, hooks, *, fit=True, loaders=None, **options):
    """Return the rows of ``media.csv``, each with the shade of its image, after a run."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, **options)
    if fit:
        trainer.fit(LoggingModule(**hooks), loader(), loaders or loader())
    else:
        trainer.test(LoggingModule(**hooks), loaders or loader(), verbose=False)
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    media["shade"] = [
        np.asarray(PIL.Image.open(f"{logger.log_dir}/{file}")).max() if kind == "image" else None
        for file, kind in zip(media["file"], media["kind"], strict=True)
    ]
    return media


def test_in_training_media_follow_log_every_n_steps(tmp_path):
    """The steps that have media are those that have numbers, and all items of a step are written."""

    def step(module, batch, index):
        module.log("x", float(index))
        module.log("train/img", Image(grey(10 * index, 10)))

    media = run(tmp_path, {"training_step": step}, log_every_n_steps=2, max_epochs=2)
    metrics = read_metrics(tmp_path / "lightning_logs/version_0")
    assert sorted(set(media["step"])) == [1, 3, 5] == list(metrics["step"])
    assert list(media["epoch"].drop_duplicates()) == list(metrics["epoch"].drop_duplicates()) == [0, 1]
    assert list(media["shade"]) == [10] * 10 + [0] * 10 + [20] * 10


def test_gradient_accumulation_logs_media_where_it_logs_numbers(tmp_path):
    """Batches between two optimizer steps log neither numbers nor media."""

    def step(module, batch, index):
        module.log("x", float(index))
        module.log("img", Image(grey(10 * index)))

    media = run(tmp_path, {"training_step": step}, accumulate_grad_batches=2)
    metrics = read_metrics(tmp_path / "lightning_logs/version_0")
    assert list(media["step"]) == list(metrics["step"]) == [0, 1]
    assert list(media["shade"]) == [10, 20]


def test_in_evaluation_the_first_eight_items_of_the_epoch_are_kept(tmp_path):
    """Items are counted over batches; captions and scores stay with them; the step is that of the metrics."""

    def step(module, batch, index):
        module.log("val/loss", batch[:, 0], reduce_fx="max")
        captions = [f"number {int(number)}" for number in batch[:, 0]]
        module.log("val/img", Image(grey(1, len(batch)) * batch[:, :1, None, None] * 10, captions, batch[:, 0]))

    media = run(tmp_path, {"validation_step": step}, max_epochs=2)
    metrics = read_metrics(tmp_path / "lightning_logs/version_0")
    assert list(media["step"]) == [2] * 8 + [5] * 8
    assert list(metrics["step"]) == [2, 5]
    assert list(media["shade"]) == [10 * number for number in range(8)] * 2
    assert list(media["caption"]) == [f"number {number}" for number in range(8)] * 2
    assert list(media["score"]) == [float(number) for number in range(8)] * 2


def test_kept_items_are_those_of_the_moment_they_were_logged(tmp_path):
    """A tensor that is changed after it was logged is written as it was."""

    def step(module, batch, index):
        images = grey(100)
        module.log("img", Image(images))
        images.zero_()

    media = run(tmp_path, {"validation_step": step, "training_step": step})
    assert set(media["shade"]) == {100}


def scored(module, batch, index):
    """Log images whose shade is their number, with a score that rises and falls."""
    numbers = batch[:, 0]
    images = Image(numbers[:, None, None, None].expand(-1, 1, 4, 4) / 255, score=(numbers - 4).abs())
    module.log("hard", images, reduce_fx="top3")
    module.log("easy", images, reduce_fx=["bottom(2)", Last(2), Sample(4, seed=1)])


def test_selections_look_at_the_whole_epoch(tmp_path):
    """The hardest and the easiest of all batches, by their scores; in a list each has a name of its own."""
    media = run(tmp_path, {"validation_step": scored}, max_epochs=2)
    for _, epoch in media.groupby("step"):
        shades = dict(epoch.groupby("name", sort=False)["shade"].apply(list))
        assert shades["hard"] == [9, 0, 8]
        assert shades["easy_bottom2"] == [4, 3]
        assert shades["easy_last2"] == [8, 9]
        assert len(set(shades["easy_sample4"])) == 4
        assert list(epoch[epoch["name"] == "hard"]["score"]) == [5, 4, 4]


def test_in_training_selections_run_between_two_logged_steps(tmp_path):
    """What was logged since the last logged step counts, over the ends of epochs too."""

    def step(module, batch, index):
        numbers = 10 * module.trainer.current_epoch + batch[:, 0]
        module.log(
            "hard", Image(numbers[:, None, None, None].expand(-1, 1, 4, 4) / 255, score=numbers), reduce_fx="top3"
        )

    media = run(tmp_path, {"training_step": step}, log_every_n_steps=2, max_epochs=2)
    shades = dict(media.groupby("step")["shade"].apply(list))
    assert shades == {1: [7, 6, 5], 3: [13, 12, 11], 5: [19, 18, 17]}


def test_what_the_start_of_a_training_logs_is_kept(tmp_path):
    """A hook that runs once before the first epoch logs for it."""

    class Starting(LoggingModule):
        def on_train_start(self):
            self.log("start", Text("begin"))

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=2)
    trainer.fit(Starting(), loader())
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert list(zip(media["name"], media["step"], strict=True)) == [("start", 2)]


def test_an_epoch_end_hook_selects_among_what_it_is_given(tmp_path):
    """A selection looks at the items of that one call."""

    def end(module, batch, index):
        module.log("texts", Text(["a", "b", "c"], score=[1.0, 3.0, 2.0]), reduce_fx="top2")

    media = run(tmp_path, {"on_validation_epoch_end": end})
    folder = tmp_path / "lightning_logs/version_0"
    assert [(folder / file).read_text() for file in media["file"]] == ["b", "c"]


def test_a_progress_bar_shows_no_media(tmp_path):
    """In a ``log_dict`` with ``prog_bar=True`` numbers go to the bar, and one warning says that media do not."""

    def step(module, batch, index):
        module.log_dict({"loss": batch.mean(), "img": Image(grey(7))}, prog_bar=True)

    message = "self.log('img', …, prog_bar=True): a progress bar shows no media, only numbers."
    with pytest.warns(UserWarning, match=re.escape(message)):
        media = run(tmp_path, {"validation_step": step})
    assert list(media["name"]) == ["img"] * 3


def test_several_dataloaders_keep_their_own_items(tmp_path):
    """Each dataloader has its own items, under Lightning's suffix unless that is turned off."""

    def step(module, batch, index):
        module.log("img", Image(grey(len(batch))))
        module.log("shared", Image(grey(len(batch))), add_dataloader_idx=False)

    media = run(tmp_path, {"test_step": step}, fit=False, loaders=[loader(2), loader(3)])
    assert dict(media.groupby("name")["shade"].apply(list)) == {
        "img/dataloader_idx_0": [2],
        "img/dataloader_idx_1": [3],
        "shared": [2, 3],
    }


def test_epoch_end_hooks_write_all_items_at_once(tmp_path):
    """What an epoch-end hook logs is written whole, under the step of the epoch's metrics."""

    def train_end(module, batch, index):
        module.log("train_end", 1.0)
        module.log("curve", Audio(torch.zeros(800), 8000))

    def val_end(module, batch, index):
        module.log("val_end", 1.0)
        module.log("report", Text([f"text {number}" for number in range(9)]))

    media = run(tmp_path, {"on_train_epoch_end": train_end, "on_validation_epoch_end": val_end}, max_epochs=2)
    metrics = read_metrics(tmp_path / "lightning_logs/version_0")
    assert list(metrics["step"]) == [2, 5]
    assert dict(media.groupby(["name", "step"]).size()) == {
        ("curve", 2): 1,
        ("curve", 5): 1,
        ("report", 2): 9,
        ("report", 5): 9,
    }


def test_in_training_items_can_be_kept_for_the_epochs_end(tmp_path):
    """``on_epoch=True`` keeps the first items of a training epoch; with ``on_step`` the names are forked."""

    def step(module, batch, index):
        module.log("epoch", Image(grey(index + 1, 3)), on_step=False, on_epoch=True)
        module.log("both", Image(grey(index + 1)), on_step=True, on_epoch=True)

    media = run(tmp_path, {"training_step": step})
    assert dict(media.groupby("name")["shade"].apply(list)) == {
        "epoch": [1, 1, 1, 2, 2, 2, 3, 3],
        "both_step": [1, 2, 3],
        "both_epoch": [1, 2, 3],
    }
    assert set(media[media["name"] == "epoch"]["step"]) == {2}


def test_log_dict_mixes_numbers_and_media(tmp_path):
    """Entries of one ``log_dict`` go each their own way."""
    media = run(tmp_path, {"validation_step": lambda m, b, i: m.log_dict({"loss": b.mean(), "img": Image(grey(7))})})
    assert list(media["name"]) == ["img"] * 3
    assert "loss" in read_metrics(tmp_path / "lightning_logs/version_0")


def test_callbacks_log_media_too(tmp_path):
    """A callback's own ``log`` takes what the module's takes."""

    class Looker(L.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
            self.log("seen", Image(grey(9)))
            self.log("n", batch[0][:, 0], reduce_fx="count")

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[Looker(), TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(), loader(), verbose=False)
    assert trainer.callback_metrics["n"] == 10
    assert list(pandas.read_csv(f"{logger.log_dir}/media.csv")["name"]) == ["seen"] * 3


def test_the_sanity_check_and_logger_false_write_nothing(tmp_path):
    """As with numbers, the sanity check and ``logger=False`` reach no logger."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(
        tmp_path, callbacks=[TrackPlus()], logger=logger, num_sanity_val_steps=2, limit_train_batches=0
    )
    module = LoggingModule(
        training_step=lambda m, b, i: m.log("img", Image(grey(1)), logger=False),
        validation_step=lambda m, b, i: m.log("img", Image(grey(1))),
    )
    trainer.fit(module, loader(), loader())
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.fit(LoggingModule(training_step=module.hooks["training_step"]), loader())
    assert not list(tmp_path.rglob("media*"))


def test_fast_dev_run_takes_media_and_writes_nothing(tmp_path, recwarn):
    """In a fast development run loggers are off, for media as for numbers, and nothing is said."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path), fast_dev_run=True)
    trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("img", Image(grey(1)))), loader())
    assert not list(tmp_path.rglob("*.*"))
    assert not [warning for warning in recwarn if "media" in str(warning.message)]


def test_without_the_callback_a_medium_is_refused_at_the_users_line(tmp_path):
    """Lightning refuses a medium, and its message says what is missing."""
    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path, add_callback=False))
    message = (
        "`self.log(img, <Image: 1 item> (a medium can be logged once TrackPlus() is among the Trainer's callbacks))`"
        " was called, but `Image` values cannot be logged"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("img", Image(grey(1)))), loader())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m, b, i: m.log("img", Image(grey(1)), on_step=True),
            MisconfigurationException,
            "self.log('img', <Image: 1 item>, on_step=True) in `validation_step`: in evaluation items of a medium are"
            " kept for the end of the epoch; leave on_step out.",
        ),
        (
            lambda m, b, i: m.log("img", Image(grey(1)), reduce_fx="p95"),
            MisconfigurationException,
            "reduce_fx='p95' selects no media; expected first, last, sample, top or bottom with a number of items,"
            " such as"
            ' reduce_fx="top8", an object such as Top(8), or a list of these.',
        ),
        (
            lambda m, b, i: m.log("img", Image(grey(1)), reduce_fx="top3"),
            MisconfigurationException,
            "self.log('img', <Image: 1 item>, reduce_fx='top3'): top3 selects by score; give one for each item,"
            " Image(…, score=loss_per_sample).",
        ),
        (
            lambda m, b, i: m.log("img", Image(grey(1)), reduce_fx=f"first{i + 1}"),
            MisconfigurationException,
            "You called `self.log(img, ...)` twice with reduce_fx=First(1) and First(2). Ask for both in one list, or"
            " log under two names.",
        ),
        (
            lambda m, b, i: (m.log("img", Image(grey(1))), m.log("img", Text("a"))),
            ValueError,
            "self.log('img', …) got Text after Image; a name is of one kind for the whole run. Log them under two"
            " names.",
        ),
        (
            lambda m, b, i: m.log("img", Image(torch.rand(5))),
            ValueError,
            "Image got pixels of shape (5,); expected (C, H, W), (H, W, C) or (H, W), or a batch of these with the"
            " batch first. C is 1, 3 or 4, and no dimension is 0.",
        ),
    ],
)
def test_what_has_no_meaning_for_media_is_refused(tmp_path, call, error, message):
    """The error says what was given and what to leave out."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path))
    with pytest.raises(error) as caught:
        trainer.validate(LoggingModule(validation_step=call), loader())
    assert str(caught.value) == message


@pytest.mark.parametrize(("kind", "given"), [(Image, torch.stack), (Image, list), (Video, torch.stack)])
@pytest.mark.parametrize("asked", ["top1", "last4"])
def test_the_range_of_floats_is_that_of_the_batch(tmp_path, asked, kind, given):
    """Not that of the items that are kept of it, nor that of the epoch: 1 is dark beside 255, and bright beside 0.5."""
    batches = torch.tensor([[1.0, 255.0, 1.0], [0.5, 1.0, 0.5]])
    shown = {"top1": [1], "last4": [1, 128, 255, 128]}[asked]

    def step(module, batch, index):
        shades = batches[index].reshape(3, *[1] * (3 + (kind is Video))).expand(-1, *[2] * (kind is Video), 1, 9, 9)
        module.log("val/it", kind(given(list(shades)), score=[2.0 - index, 0, 0]), reduce_fx=asked)

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(validation_step=step), loader(2, 1), verbose=False)
    files = pandas.read_csv(f"{logger.log_dir}/media.csv")["file"]
    found = [PIL.Image.open(f"{logger.log_dir}/{file}").convert("L").getextrema()[1] for file in files]
    assert found == pytest.approx(shown, abs=2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (0.5, "text", "got Text after a number"),
        (torch.ones(3), "text", "got Text after values for each sample"),
        ("text", torch.tensor(0.5), "got a number after Text"),
        (Image(grey(1)), "text", "got Text after Image"),
        (matplotlib.figure.Figure(), go.Figure(), "got Figure of plotly after Figure of matplotlib"),
    ],
)
def test_a_name_is_of_one_kind_for_the_whole_run(tmp_path, first, second, message):
    """Also where the other kind comes an epoch later: TensorBoard shows a tag in one of its tabs."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=2)

    def log(module, batch, index):
        module.log("it", (first, second)[module.current_epoch])

    with pytest.raises(ValueError, match=re.escape(f"{message}; a name is of one kind for the whole run.")):
        trainer.fit(LoggingModule(validation_step=log), loader(), loader())
    assert trainer.current_epoch == 1


def test_a_name_may_be_of_another_kind_for_another_dataloader(tmp_path):
    """There it is another name."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)

    class Module(LoggingModule):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("it", [Image(grey(1)), "text", 0.5][dataloader_idx])

    trainer.validate(Module(), [loader()] * 3)
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert dict(zip(media["name"], media["kind"], strict=True)) == {
        "it/dataloader_idx_0": "image",
        "it/dataloader_idx_1": "text",
    }
    assert trainer.callback_metrics == {"it/dataloader_idx_2": 0.5}


def test_two_names_that_become_one(tmp_path):
    """With ``on_step`` and ``on_epoch`` a name gets an end that another one may have of its own."""

    def log(module, batch, index):
        module.log("it", Image(grey(1)), on_step=True, on_epoch=True)
        module.log("it_epoch", "text", on_step=False, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path))
    message = "self.log('it_epoch', …) got Text after Image in one epoch; log them under two names."
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.fit(LoggingModule(training_step=log), loader())


def test_formats_and_grids_of_one_name_are_kept(tmp_path):
    """Each image has the format that its batch was given, and images of one grid and format are in one file."""
    options = [{"format": "jpeg"}, {}, {"grid": 2}, {"grid": 2}, {"grid": 1, "format": "webp"}]

    def step(module, batch, index):
        captions = [f"{index}{place}" for place in range(2)]
        module.log("it", Image(grey(9, 2), captions, [index, index], **options[index]), reduce_fx="first20")

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(validation_step=step), loader(5, 1), verbose=False)
    rows = pandas.read_csv(f"{logger.log_dir}/media.csv", dtype={"caption": str})
    found = []
    for file, caption, score in zip(rows["file"], rows["caption"], rows["score"].map(str), strict=True):
        with PIL.Image.open(f"{logger.log_dir}/{file}") as picture:
            found.append((picture.format, picture.size, caption, score))
    assert found == [
        *[("JPEG", (4, 4), f"0{place}", "0.0") for place in range(2)],
        *[("PNG", (4, 4), f"1{place}", "1.0") for place in range(2)],
        ("PNG", (10, 10), "20 | 21 | 30 | 31", "nan"),
        ("WEBP", (4, 10), "40 | 41", "nan"),
    ]


def undrawable():
    """Return a figure whose title matplotlib cannot read."""
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    figure.suptitle(r"$\frac{1$")
    return figure


@pytest.mark.parametrize("figure", [undrawable(), go.Figure(layout={"meta": object()})], ids=["matplotlib", "plotly"])
@pytest.mark.filterwarnings("ignore")
def test_a_figure_that_cannot_be_drawn_ends_no_training(tmp_path, figure):
    """Wherever it is logged; what can be drawn is written, and warnings say what is missing."""
    good = type(figure)()

    def log(module, batch, index):
        module.log("both", Figure([figure, good], caption=["bad", "good"]))
        module.log("bad", figure)

    def direct(module, batch, index):
        module.logger.log_figure("direct", figure)
        log(module, batch, index)

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    with pytest.warns(UserWarning, match="could not be drawn") as caught:
        trainer.fit(LoggingModule(training_step=log, on_validation_epoch_end=direct), loader(4), loader(4))
        trainer.validate(LoggingModule(validation_step=log), loader(4), verbose=False)
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert set(media["name"]) == {"both"}
    assert list(media["caption"]) == ["good"] * 3
    said = {str(one.message).split(".")[0] for one in caught if "Figure 'both'" in str(one.message)}
    assert said == {"Figure 'both': 1 of 2 could not be drawn and are left out"}
    lost = {str(one.message).split(" failed")[0] for one in caught if " failed" in str(one.message)}
    assert lost == {"Encoding 'bad'", "Encoding 'direct'"}


def test_a_file_that_vanishes_is_written_all_the_same(tmp_path):
    """It is read where the medium is made."""
    files = {"it.png": Image, "it.gif": Video, "it.wav": Audio}
    for file in files:
        if file == "it.wav":
            soundfile.write(file, np.zeros(80), 8000)
        else:
            PIL.Image.new("L", (4, 4)).save(file)

    def log(module, batch, index):
        for file, kind in files.items():
            module.log(file, kind(file))
            Path(file).unlink()

    logger = TrackPlusLogger(tmp_path)
    quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger).validate(
        LoggingModule(validation_step=log), loader(4), verbose=False
    )
    assert sorted(pandas.read_csv(f"{logger.log_dir}/media.csv")["name"]) == sorted(files)


@pytest.mark.parametrize("asked", ["mean", "first2"])
def test_a_medium_that_cannot_be_copied_ends_no_training(tmp_path, asked):
    """Such as one for which there is no memory."""

    class Broken(Image):
        def snapshot(self):
            raise MemoryError("no room")

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    step = lambda m, b, i: (m.log("it", Broken(grey(1)), reduce_fx=asked), m.log("other", Image(grey(1))))  # noqa: E731
    with pytest.warns(UserWarning, match=r"'it' failed, training continues\. MemoryError: no room"):
        trainer.fit(LoggingModule(training_step=step), loader(4))
    assert set(pandas.read_csv(f"{logger.log_dir}/media.csv")["name"]) == {"other"}


def test_ranks_that_log_different_media_under_one_name(recwarn):
    """None of them is written, and rank zero says so."""

    def work(rank):
        key, kept = SelectionKey("train", "it"), SelectedItems(First(1), rank)
        kept.add(Text("a") if rank else Image(grey(1)))
        return sync_epoch([], {key: kept})[1]

    assert in_threads(3, work) == [{}] * 3
    message = (
        "self.log('it', …) got Image with First(1) in one process and Text with First(1) in another, and none of them"
        " is written; log them under two names."
    )
    assert [str(one.message) for one in recwarn if "'it'" in str(one.message)] == [message]


def test_predict_hooks_take_no_media(tmp_path):
    """Where Lightning lets nothing be logged, media cannot be either."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    with pytest.raises(MisconfigurationException, match=r"You can't `self.log\(\)` inside `predict_step`"):
        trainer.predict(LoggingModule(predict_step=lambda m, b, i: m.log("x", Text("a"))), loader())


def test_a_learning_rate_search_leaves_no_media_in_the_run(tmp_path):
    """What a search logs before the training is not among the items of the first epoch."""

    class Search(LoggingModule):
        learning_rate = 1e-3

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.learning_rate)

        def training_step(self, batch, batch_idx):
            searching = self.trainer.max_steps == 5
            self.log("tx", Text("search" if searching else "training"), on_step=False, on_epoch=True)
            return self.layer(batch[0]).pow(2).mean()

    logger = TrackPlusLogger(tmp_path)
    # Rates so small that the search comes to its end, whatever the weights.
    finder = LearningRateFinder(1e-9, 1e-7, num_training_steps=5, early_stop_threshold=None)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), finder], logger=logger, enable_checkpointing=True)
    trainer.fit(Search(), loader(40))
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert {Path(logger.log_dir, file).read_text() for file in media["file"]} == {"training"}


def test_a_medium_for_neither_step_nor_epoch_is_refused_in_lightnings_words(tmp_path):
    """A call that would do nothing is a mistake."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    step = lambda m, b, i: m.log("x", Text("a"), on_step=False, on_epoch=False)  # noqa: E731
    with pytest.raises(MisconfigurationException, match=r"`self\.log\(on_step=False, on_epoch=False\)` is not useful"):
        trainer.fit(LoggingModule(training_step=step), loader())


def test_a_list_of_selections_that_changes_is_taken_as_it_is_then(tmp_path):
    """A call like an earlier one is not taken for it where the caller has changed a list in place."""
    asked = ["first1"]

    def step(module, batch, index):
        if index == 1:
            asked.append("last1")
        module.log("it", Image(grey(index)), reduce_fx=asked)

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(validation_step=step), loader(8), verbose=False)
    logger.finalize("success")
    assert set(pandas.read_csv(f"{logger.log_dir}/media.csv")["name"]) == {"it_first1", "it_last1"}
