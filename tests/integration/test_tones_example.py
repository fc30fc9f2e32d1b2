"""The example with sounds, run as a person runs it, and read back by other people's readers."""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest
import scipy.signal
import soundfile
import torch
from sklearn.metrics import confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import HeatMap
from tests.support.csv_files import read_metrics
from tests.support.programs import as_a_program, imported_example

ROOT = Path(__file__).parents[2]
NOTES = 1000  # Half as many as a person's run has, in batches half as large.
EPOCHS = 3
STEPS = 32
LAST = EPOCHS * STEPS - 1
LAST_STEPS = [STEPS * epoch - 1 for epoch in range(1, EPOCHS + 1)]
SCALE = re.findall(r"[A-G]#?\d", "A2A#2B2C3C#3D3D#3E3F3F#3G3G#3A3A#3B3C4C#4D4D#4E4F4F#4G4G#4A4")
SOUNDS, PICTURES, WORST = "val/hardest", "val/hardest_spectrograms", "val/worst"


@pytest.fixture(scope="module")
def tones():
    """Return the example as a module."""
    return imported_example("tones")


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    """Train for three epochs and return the run directory that the program names."""
    folder = tmp_path_factory.mktemp("tones")
    words = ["fit", "--config", ROOT / "examples/tones.yaml"]
    options = ["--trainer.accelerator=cpu", f"--trainer.max_epochs={EPOCHS}"]
    options += [f"--data.count={NOTES}", "--data.batch_size=25"]
    with as_a_program(*words, *options, folder=folder):
        tones.main()
    return folder / "lightning_logs/version_0"


@pytest.fixture(scope="module")
def metrics(run):
    """Return ``metrics.csv``, a row for each validation."""
    return read_metrics(run).dropna(subset=["val/accuracy"]).set_index("step")


@pytest.fixture(scope="module")
def media(run):
    """Return ``media.csv``."""
    return pandas.read_csv(run / "media.csv")


@pytest.fixture(scope="module")
def events(run):
    """Return what TensorBoard's reader finds."""
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def data(tones):
    """Return the data, made again."""
    data = tones.Tones(count=NOTES)
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def judged(run, tones, data):
    """Return what the net of the checkpoint makes of the validation: a row for each note, by its number."""
    [checkpoint] = (run / "checkpoints").iterdir()
    net = tones.ToneNet()
    net.load_state_dict(torch.load(checkpoint, weights_only=False)["state_dict"])
    net.eval()
    waveforms, instruments, pitches, numbers = (torch.stack(column) for column in zip(*data.validation, strict=True))
    with torch.no_grad():
        logits = net(waveforms).double().numpy()
    truth = instruments.numpy()
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(truth)), truth]
    columns = {"number": numbers, "true": truth, "predicted": logits.argmax(axis=1), "midi": pitches, "loss": losses}
    return pandas.DataFrame({name: np.asarray(column) for name, column in columns.items()}).set_index("number")


def items(media, name, step=LAST):
    """Return the rows of ``media.csv`` of one name and step."""
    return media[(media["name"] == name) & (media["step"] == step)]


def number_of(caption):
    """Return which note a caption is about."""
    return int(re.match(r"note (\d+):", caption)[1])


def test_it_learns_to_tell_the_instruments(metrics):
    """Of five instruments a guess hits one in five; the net does much better, and better than at first."""
    assert metrics.index.tolist() == LAST_STEPS
    assert metrics["val/accuracy"].iloc[-1] > 0.6
    assert metrics["val/loss_mean"].iloc[-1] < metrics["val/loss_mean"].iloc[0]


def test_the_numbers_are_those_of_the_saved_net(metrics, judged, tones):
    """Loss, accuracy and recall of the last epoch are what numpy and scikit-learn make of the checkpoint."""
    row = metrics.loc[LAST]
    assert row["val/loss_mean"] == pytest.approx(judged["loss"].mean(), rel=1e-4)
    assert row["val/loss_p95"] == pytest.approx(np.quantile(judged["loss"], 0.95), rel=1e-4)
    assert row["val/accuracy"] == pytest.approx((judged["true"] == judged["predicted"]).mean())
    recall = [row[f"val/recall/{instrument}"] for instrument in tones.INSTRUMENTS]
    assert recall == pytest.approx(recall_score(judged["true"], judged["predicted"], average=None))


def test_the_confusion_matrix_is_that_of_the_saved_net(run, media, judged, tones):
    """The last heat map is the one of scikit-learn's matrix; there is one for each epoch."""
    rows = media[media["name"] == "val/confusion"]
    assert rows["step"].tolist() == LAST_STEPS
    assert set(rows["kind"]) == {"image"}
    matrix = confusion_matrix(judged["true"], judged["predicted"])
    [expected] = HeatMap(matrix, tones.INSTRUMENTS).encode("val/confusion").items
    picture = PIL.Image.open(run / rows["file"].iloc[-1]).convert("RGB")
    assert min(picture.size) > 100
    assert np.array_equal(picture, PIL.Image.open(io.BytesIO(expected.data)).convert("RGB"))


@pytest.mark.parametrize("step", LAST_STEPS)
def test_the_table_holds_the_worst_ten_from_the_worst_on(run, media, data, tones, step):
    """Ten different notes of the validation, sorted by loss, each with its own pitch and instrument."""
    [file] = items(media, WORST, step)["file"]
    table = pandas.read_csv(run / file)
    assert list(table.columns) == ["number", "instrument", "prediction", "pitch", "loss"]
    assert len(table) == 10
    assert table["number"].is_unique
    assert set(table["number"]) <= set(data.validation.indices)
    assert table["loss"].is_monotonic_decreasing
    for _, row in table.iterrows():
        _, instrument, pitch, number = data.dataset[row["number"]]
        assert (row["instrument"], row["pitch"]) == (tones.INSTRUMENTS[instrument], SCALE[pitch - 45])
        assert number == row["number"]
        assert row["prediction"] in tones.INSTRUMENTS


def test_the_table_is_that_of_the_saved_net(run, media, judged, tones):
    """The last table has the losses and predictions of the checkpoint, and the validation has none that are worse."""
    [file] = items(media, WORST)["file"]
    table = pandas.read_csv(run / file)
    assert table["loss"].to_numpy() == pytest.approx(judged["loss"].nlargest(10).to_numpy(), rel=1e-3)
    same = judged.loc[table["number"]]
    assert table["loss"].to_numpy() == pytest.approx(same["loss"].to_numpy(), rel=1e-3)
    assert table["prediction"].tolist() == [tones.INSTRUMENTS[index] for index in same["predicted"]]


@pytest.mark.parametrize("step", LAST_STEPS)
@pytest.mark.parametrize("name", [SOUNDS, PICTURES])
def test_the_hardest_are_the_head_of_the_table(run, media, name, step):
    """Numbers, captions and scores of the four sounds and of the four pictures agree with the table's first rows."""
    [file] = items(media, WORST, step)["file"]
    head = pandas.read_csv(run / file).head(4)
    rows = items(media, name, step)
    assert rows["score"].tolist() == head["loss"].tolist()
    assert rows["caption"].tolist() == [
        f"note {row.number}: {row.instrument}, {row.pitch}, predicted {row.prediction}" for row in head.itertuples()
    ]


def test_the_sounds_are_the_notes_of_their_captions(run, media, data):
    """Both readers find half a second at 8 kHz, which is the note with that number, to the nearest of 16 bits."""
    rows = media[media["name"] == SOUNDS]
    assert rows["step"].tolist() == [step for step in LAST_STEPS for _ in range(4)]
    for _, row in rows.iterrows():
        with wave.open(str(run / row["file"])) as sound:
            assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
            assert (sound.getframerate(), sound.getnframes()) == (8000, 4000)
        samples, rate = soundfile.read(run / row["file"], dtype="int16")
        assert len(samples) / rate == 0.5
        waveform = data.dataset[number_of(row["caption"])][0].numpy()
        assert np.abs(samples - 32767 * waveform).max() <= 0.51
        assert np.abs(samples).max() == round(0.9 * 32767)


def test_the_pictures_are_spectrograms_of_the_sounds(run, media):
    """The brightness of each, read by Pillow, is that of scipy's spectrogram of the same sound, low notes below."""
    sounds, pictures = media[media["name"] == SOUNDS], media[media["name"] == PICTURES]
    for sound, picture in zip(sounds["file"], pictures["file"], strict=True):
        samples, rate = soundfile.read(run / sound)
        _, _, spectrum = scipy.signal.stft(samples, rate, "hann", 256, 256 - 32, boundary="even", padded=False)
        decibels = 20 * np.log10(np.abs(spectrum) + 1e-6)
        pixels = np.asarray(PIL.Image.open(run / picture))
        assert pixels.shape == (*spectrum.shape, 3)
        brightness = pixels.astype(float).sum(axis=2)[::-1]
        assert np.corrcoef(brightness.ravel(), decibels.ravel())[0, 1] > 0.95


def test_tensorboard_has_the_same_media(run, media, events):
    """The tags stand in the tabs where a person looks for them: sounds to the byte, pictures above their captions."""
    tabs = {"val/confusion": "images", PICTURES: "images", SOUNDS: "audio", WORST: "text"}
    tabs |= {f"{SOUNDS}/captions": "text"}
    tabs |= {f"_hparams_/session_{end}_info": "hparams" for end in ("start", "end")}
    assert {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]} == tabs
    for step, pictures, sounds in zip(LAST_STEPS, events.Tensors(PICTURES), events.Tensors(SOUNDS), strict=True):
        assert (pictures.step, sounds.step) == (step, step)
        files = {
            name: [(run / file).read_bytes() for file in items(media, name, step)["file"]]
            for name in (PICTURES, SOUNDS)
        }
        for shown, file in zip(pictures.tensor_proto.string_val[2:], files[PICTURES], strict=True):
            enlarged = np.asarray(PIL.Image.open(io.BytesIO(file))).repeat(2, axis=0).repeat(2, axis=1)
            np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(shown)))[:258, :252], enlarged)
        assert list(sounds.tensor_proto.string_val[::2]) == files[SOUNDS]
        captions = [label.decode() for label in sounds.tensor_proto.string_val[1::2]]
        assert captions == items(media, SOUNDS, step)["caption"].tolist()


def test_tensorboard_shows_the_table(run, media, events):
    """The markdown of each epoch has a line for each row of the CSV."""
    for step, event in zip(LAST_STEPS, events.Tensors(WORST), strict=True):
        [file] = items(media, WORST, step)["file"]
        title, _, *lines = event.tensor_proto.string_val[0].decode().splitlines()
        assert title == "| number | instrument | prediction | pitch | loss |"
        cells = [[cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] for line in lines]
        assert cells == [
            [str(row.number), row.instrument, row.prediction, row.pitch, f"{row.loss:.6g}"]
            for row in pandas.read_csv(run / file).itertuples()
        ]


@pytest.mark.parametrize(
    ("instrument", "semitones"), [("sine", 0.1), ("triangle", 0.1), ("square", 0.1), ("sawtooth", 0.1), ("string", 0.4)]
)
def test_the_instruments_are_in_tune(tones, instrument, semitones):
    """The period of every note, as its autocorrelation has it, is right; that of a string roughly."""
    random = torch.Generator().manual_seed(1)
    for pitch in range(45, 70):
        samples = tones.tone(instrument, pitch, random).numpy()
        power = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
        # Padded spectra have their autocorrelation at sixteenths of a sample.
        correlation = np.fft.irfft(power, 16 * 2 * len(samples))[16 * 12 : 16 * 100]
        period = 12 + correlation.argmax() / 16
        assert abs(12 * np.log2(8000 / period / 440) - (pitch - 69)) < semitones, pitch


def test_the_oscillators_are_those_of_scipy(tones):
    """A low square and a low sawtooth wave are close to scipy's, but for their corners, and die away."""
    phase = 2 * np.pi * 110 * np.arange(4000) / 8000
    fall = np.exp(-4 * np.arange(4000) / 8000)
    random = torch.Generator()
    for instrument, wanted in [
        ("sine", np.sin(phase)),
        ("triangle", scipy.signal.sawtooth(phase + np.pi / 2, 0.5)),
        ("square", scipy.signal.square(phase)),
        ("sawtooth", -scipy.signal.sawtooth(phase)),
    ]:
        samples = tones.tone(instrument, 45, random).numpy()
        assert np.corrcoef(samples, wanted * fall)[0, 1] > 0.97, instrument
