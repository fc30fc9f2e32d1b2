"""The norms of gradients, of real trainings, against those of torch and of numpy."""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
from unittest.mock import patch

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.callbacks.gradient_norms import GradientNorms, Gradients, layers_of
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import Callback
from tests.flavour.pytorch.loggers import CSVLogger
from tests.flavour.pytorch.plugins.precision import MixedPrecision
from tests.flavour.pytorch.strategies import ModelParallelStrategy
from tests.support.csv_files import read_metrics
from tests.support.training import leave, loader, quiet_trainer


class Net(L.LightningModule):
    """An encoder of two blocks and a head, which keeps what its gradients are when they are to be clipped."""

    def __init__(self, make_optimizer=torch.optim.SGD):
        super().__init__()
        self.encoder = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(2)])
        self.head = nn.Linear(2, 1)
        self.make_optimizer = make_optimizer
        self.seen = []
        self.norms = []

    def configure_optimizers(self):
        return self.make_optimizer(self.parameters(), lr=0.01)

    def loss(self, batch):
        return self.head(self.encoder(batch[0] + 0.5)).pow(2).mean()

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        with_gradient = {name: one.grad for name, one in self.named_parameters() if one.grad is not None}
        self.seen.append({name: gradient.to_dense().clone() for name, gradient in with_gradient.items()})
        self.norms.append(torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val or math.inf).item())


def norm(gradients, prefix="", order=2.0):
    """Return the norm of all gradients of the parameters below a prefix, by numpy."""
    parts = [one.double().numpy().ravel() for name, one in gradients.items() if name.startswith(prefix)]
    return np.linalg.norm(np.concatenate(parts), order)


def fit(root, module, callback, batches=None, **options):
    """Train, and return the rows of metrics.csv that CSVLogger wrote."""
    callbacks = [callback, *options.pop("callbacks", [])]
    logger = CSVLogger(root, "csv")
    trainer = quiet_trainer(root, callbacks=callbacks, logger=logger, **options)
    torch.manual_seed(0)
    trainer.fit(module, batches or loader(12))
    return read_metrics(logger.log_dir)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
def test_the_norm_is_that_of_clip_grad_norm_before_clipping(tmp_path, order):
    """It is the norm of what is clipped, in each step."""
    net = Net(torch.optim.Adam)
    rows = fit(tmp_path, net, GradientNorms(norm_type=order), gradient_clip_val=0.01, max_epochs=2)
    assert rows["step"].tolist() == list(range(6))
    assert rows["grad_norm"].tolist() == pytest.approx([norm(one, order=order) for one in net.seen], rel=1e-5)
    if order == 2.0:
        assert min(net.norms) > 0.01
        assert rows["grad_norm"].tolist() == pytest.approx(net.norms, rel=1e-7)


@pytest.mark.parametrize(
    ("by_layer", "layers"),
    [
        (None, []),
        ("*", ["encoder.0.0", "encoder.1.0", "head"]),
        ("encoder", ["encoder"]),
        ("encoder.?", ["encoder.0", "encoder.1"]),
        ("encoder*", ["encoder.0.0", "encoder.1.0"]),
        ("*.1", ["encoder.1"]),
        (["encoder", "encoder.?", "head"], ["encoder", "encoder.0", "encoder.1", "head"]),
    ],
)
def test_layers_have_the_norm_of_all_their_parameters(tmp_path, by_layer, layers):
    """The pattern says which modules are layers; a module around others stands for them where it alone is meant."""
    net = Net()
    rows = fit(tmp_path, net, GradientNorms(by_layer=by_layer))
    assert set(rows.columns) == {"epoch", "step", "grad_norm", *(f"grad_norm/{layer}" for layer in layers)}
    for layer in layers:
        assert rows[f"grad_norm/{layer}"].tolist() == pytest.approx([norm(one, layer) for one in net.seen], rel=1e-5)


def test_accumulated_gradients_have_one_norm_for_each_step(tmp_path):
    """It is that of the sum over the batches; the last step has what is left."""
    net = Net()
    rows = fit(tmp_path, net, GradientNorms("*"), loader(20), accumulate_grad_batches=2)
    assert rows["step"].tolist() == [0, 1, 2]
    assert rows["grad_norm"].tolist() == pytest.approx(net.norms, rel=1e-7)
    assert rows["grad_norm/head"].tolist() == pytest.approx([norm(one, "head") for one in net.seen], rel=1e-5)


def test_norms_are_there_in_the_steps_that_are_logged(tmp_path):
    """In between nothing is computed, so that other callbacks have the norm of the last step that was logged."""
    seen = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(trainer.callback_metrics.get("grad_norm"))

    net = Net()
    rows = fit(tmp_path, net, GradientNorms(), loader(28), log_every_n_steps=3, callbacks=[Watch()])
    assert rows["step"].tolist() == [2, 5]
    assert rows["grad_norm"].tolist() == pytest.approx([net.norms[2], net.norms[5]])
    assert [None if one is None else one.item() for one in seen] == [
        *[None] * 2,
        *[pytest.approx(net.norms[2])] * 3,
        *[pytest.approx(net.norms[5])] * 2,
    ]


@pytest.mark.parametrize("every_step", [False, True])
def test_reducers_see_the_steps_of_which_there_are_norms(tmp_path, every_step):
    """With every_step=True they see all, and else those that are logged."""
    net = Net()
    track = TrackPlus(reducers={"grad_norm": ["min", "since_logged(max)"]})
    norms = GradientNorms(every_step=every_step)
    rows = fit(tmp_path, net, norms, loader(24), log_every_n_steps=3, callbacks=[track])
    logged = [net.norms[2], net.norms[5]]
    assert rows["grad_norm"].dropna().tolist() == pytest.approx(logged)
    assert rows["grad_norm_min"].dropna().tolist() == [pytest.approx(min(net.norms if every_step else logged))]
    largest = [max(net.norms[:3]), max(net.norms[3:])] if every_step else logged
    assert rows["grad_norm_since_logged_max"].dropna().tolist() == pytest.approx(largest)


def test_it_logs_through_trackplus_and_its_logger(tmp_path):
    """Both formats of the run have the norms."""
    net = Net()
    logger = TrackPlusLogger(tmp_path, name="run", version=0)
    trainer = quiet_trainer(tmp_path, callbacks=[GradientNorms("head"), TrackPlus()], logger=logger)
    trainer.fit(net, loader(12))
    rows = read_metrics(tmp_path / "run/version_0")
    assert rows["grad_norm"].tolist() == pytest.approx(net.norms)
    assert rows["grad_norm/head"].tolist() == pytest.approx([norm(one, "head") for one in net.seen], rel=1e-5)


class Adversaries(Net):
    """Two optimizers by hand, of which the second steps with every third batch."""

    automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.01) for part in (self.encoder, self.head)]

    def training_step(self, batch, batch_idx):
        for number, optimizer in enumerate(self.optimizers()):
            if number and batch_idx % 3:
                continue
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], math.inf).item())


def test_each_of_several_optimizers_has_norms_of_its_own(tmp_path):
    """They are of its own parameters, and stand in the rows of the batches in which it stepped."""
    net = Adversaries()
    rows = fit(tmp_path, net, GradientNorms("*"), loader(20))
    assert rows["step"].tolist() == [0, 1, 2, 3, 4]
    first, second = rows["grad_norm/optimizer_0"], rows["grad_norm/optimizer_1"]
    assert first.tolist() == pytest.approx([net.norms[place] for place in (0, 2, 3, 4, 6)])
    assert second.isna().tolist() == [False, True, True, False, True]
    assert second.dropna().tolist() == pytest.approx([net.norms[1], net.norms[5]])
    assert rows["grad_norm/optimizer_1/head"].equals(second)
    assert {"grad_norm/optimizer_0/encoder.0.0", "grad_norm/optimizer_0/encoder.1.0"} < set(rows.columns)
    assert "grad_norm/optimizer_0/head" not in rows


class Telling(Adversaries):
    """Logs the loss of each optimizer before it steps."""

    def loss(self, batch):
        loss = super().loss(batch)
        name = "again" if "first" in self.told else "first"
        self.told.append(name)
        self.log(name, loss, on_step=True, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        self.told = []
        super().training_step(batch, batch_idx)


@pytest.mark.parametrize("track", [[], [TrackPlus]])
def test_what_a_step_logs_between_its_optimizers_is_kept(tmp_path, track):
    """In the first batch of an epoch, Lightning would drop it where a callback logs in the optimizer's hook."""
    options, net = {"batches": loader(20), "max_epochs": 2}, Telling()
    without = fit(tmp_path / "without", copy.deepcopy(net), Callback(), **options)
    several = [GradientNorms("*", name="other"), *(kind() for kind in track)]
    rows = fit(tmp_path / "with", net, GradientNorms("*"), callbacks=several, **options)
    assert set(without) == {"step", "epoch", *(f"{n}_{when}" for n in ("first", "again") for when in ("step", "epoch"))}
    pandas.testing.assert_frame_equal(rows[list(without)], without)
    assert rows["step"][rows["grad_norm/optimizer_1/head"].notna()].tolist() == [0, 3, 5, 8]
    assert rows["grad_norm/optimizer_0"].notna().tolist() == without["first_step"].notna().tolist()
    assert rows["other/optimizer_1/head"].equals(rows["grad_norm/optimizer_1/head"])


def test_bf16_mixed_has_the_norm_of_gradients_in_float32(tmp_path):
    """The parameters stay in float32, and so do their gradients."""
    net = Net()
    rows = fit(tmp_path, net, GradientNorms(), precision="bf16-mixed")
    assert rows["grad_norm"].tolist() == pytest.approx(net.norms, rel=1e-7)


def test_gradients_in_half_precision_have_a_norm_in_float32(tmp_path):
    """clip_grad_norm_ rounds to 8 bits; the norm of float16 can be larger than any float16."""
    net = Net()
    rows = fit(tmp_path, net, GradientNorms(), precision="bf16-true")
    assert rows["grad_norm"].tolist() == pytest.approx([norm(one) for one in net.seen], rel=1e-6)
    assert net.norms == pytest.approx([norm(one) for one in net.seen], rel=2**-7)
    weight = torch.zeros(100, dtype=torch.float16, requires_grad=True)
    weight.grad = torch.full((100,), 30000, dtype=torch.float16)
    assert Gradients("norm", [weight], {}).norms(2.0)[0].item() == pytest.approx(300000)


@pytest.mark.parametrize("fused", [False, True])
def test_16_mixed_has_the_norm_of_unscaled_gradients(tmp_path, fused):
    """A fused optimizer unscales them later than others do."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    net = Net(lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, fused=fused))
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    rows = fit(tmp_path, net, GradientNorms(), plugins=plugins)
    factor = 1024.0 if fused else 1.0
    assert rows["grad_norm"].tolist() == pytest.approx([one / factor for one in net.norms], rel=1e-6)


class Unusual(Net):
    """A module with sparse, shared, frozen, unused and empty parameters, and one that is not in the optimizer."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 2, sparse=True)
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.encoder[0][0].weight
        self.unused = nn.Linear(2, 2)
        self.empty = nn.Linear(0, 2, bias=False)
        self.elsewhere = nn.Linear(2, 2)
        self.encoder[1].requires_grad_(False)

    def loss(self, batch):
        twice = self.words(torch.tensor([1, 1, 3])).sum(dim=0)
        rest = self.empty(batch[0][:, :0]) + self.elsewhere(batch[0])
        return super().loss([self.tied(batch[0]) + twice + rest])

    def configure_optimizers(self):
        own = [one for name, one in self.named_parameters() if not name.startswith("elsewhere")]
        return torch.optim.SGD(own, lr=0.01)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        kept = {name: one.grad for name, one in self.named_parameters() if one.grad is not None}
        self.seen.append({name: one.to_dense() for name, one in kept.items() if not name.startswith("elsewhere")})


@pytest.mark.parametrize("order", [2.0, math.inf])
def test_unusual_parameters_count_as_they_should(tmp_path, order):
    """Each once in all, shared ones in each layer, sparse ones summed by index; those without a gradient not at all."""
    net = Unusual()
    rows = fit(tmp_path, net, GradientNorms("*", norm_type=order))
    layers = ["encoder.0.0", "head", "words", "tied"]
    assert set(rows.columns) == {"epoch", "step", "grad_norm", *(f"grad_norm/{layer}" for layer in layers)}
    assert rows["grad_norm"].tolist() == pytest.approx([norm(one, order=order) for one in net.seen], rel=1e-5)
    assert rows["grad_norm/words"].tolist() == pytest.approx([norm(one, "words", order) for one in net.seen], rel=1e-5)
    tied = [norm(one, "encoder.0.0.weight", order) for one in net.seen]
    assert rows["grad_norm/tied"].tolist() == pytest.approx(tied, rel=1e-5)


def test_parameters_may_get_and_lose_their_gradients(tmp_path):
    """What is frozen or thawed while training continues is in the norms of the next step."""

    class Thawing(Net):
        def on_train_batch_start(self, batch, batch_idx):
            self.encoder[0].requires_grad_(batch_idx >= 1)
            self.encoder[1].requires_grad_(batch_idx < 2)

    net = Thawing()
    rows = fit(tmp_path, net, GradientNorms("*"), loader(16))
    assert rows["grad_norm"].tolist() == pytest.approx(net.norms, rel=1e-7)
    assert rows["grad_norm/encoder.0.0"].isna().tolist() == [True, False, False, False]
    assert rows["grad_norm/encoder.1.0"].isna().tolist() == [False, False, True, True]


def test_a_step_without_gradients_has_no_norm(tmp_path):
    """A training_step that returns None leaves none."""

    class Skipping(Net):
        def training_step(self, batch, batch_idx):
            self.log("batch", float(batch_idx))
            return None if batch_idx == 1 else self.loss(batch)

    rows = fit(tmp_path, Skipping(), GradientNorms("*"))
    assert rows["batch"].tolist() == [0, 1, 2]
    assert rows["grad_norm"].isna().tolist() == [False, True, False]
    assert rows["grad_norm/head"].isna().tolist() == [False, True, False]


def test_compiled_modules_keep_their_names(tmp_path):
    """The names are those of the modules without torch.compile."""
    net = Net()
    net.encoder = torch.compile(net.encoder, backend="eager")
    net.head = torch.compile(net.head, backend="eager")
    rows = fit(tmp_path, net, GradientNorms("*"))
    layers = ["encoder.0.0", "encoder.1.0", "head"]
    assert set(rows.columns) == {"epoch", "step", "grad_norm", *(f"grad_norm/{layer}" for layer in layers)}


def test_a_layer_with_parameters_and_layers_below_it_has_all_of_them():
    """Such as attention, whose projection is a layer as well."""
    layers = layers_of(nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)}), ["*"])
    assert {name: len(parameters) for name, parameters in layers.items()} == {
        "attention": 4,
        "attention.out_proj": 2,
    }


def test_several_of_them_log_beside_each_other(tmp_path):
    """Each under its name."""
    net = Net()
    largest = GradientNorms("head", norm_type=math.inf, name="grad_max")
    rows = fit(tmp_path, net, GradientNorms(), callbacks=[largest])
    assert rows["grad_norm"].tolist() == pytest.approx(net.norms)
    assert rows["grad_max"].tolist() == pytest.approx([norm(one, order=np.inf) for one in net.seen])
    assert rows["grad_max/head"].tolist() == pytest.approx([norm(one, "head", np.inf) for one in net.seen])


def test_one_callback_serves_one_training_after_another(tmp_path):
    """Also after one that raised; and so does a pickle of it, which is what other processes get."""

    class Failing(Net):
        def training_step(self, batch, batch_idx):
            if batch_idx:
                raise KeyError("training_step")
            return self.loss(batch)

    callback = pickle.loads(pickle.dumps(GradientNorms("head")))
    with pytest.raises(KeyError, match="training_step"):
        fit(tmp_path, Failing(), callback)
    for _ in range(2):
        net = Net()
        rows = fit(tmp_path, net, callback)
        assert rows["grad_norm"].tolist() == pytest.approx(net.norms)
        assert rows["grad_norm/head"].tolist() == pytest.approx([norm(seen, "head") for seen in net.seen], rel=1e-5)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"barebones": True, "max_steps": 2}])
def test_trainers_without_loggers_train_as_they_do(tmp_path, options):
    """A quick run has the norm; one that logs nothing does not even compute it."""
    trainer = L.Trainer(accelerator="cpu", callbacks=[GradientNorms("*")], **options)
    trainer.fit(Net(), loader(12))
    assert ("grad_norm" in trainer.callback_metrics) == ("fast_dev_run" in options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fake tensors stand for a device that is not there")
def test_nothing_waits_for_the_device():
    """A fake tensor has no numbers: whatever asks for one, and would wait for it on a device, raises."""
    with FakeTensorMode():
        parameters = [
            torch.empty(3, 4, device=device, dtype=dtype, requires_grad=True)
            for device in ("cpu", "cuda:0", "cuda:1")
            for dtype in (torch.float32, torch.bfloat16)
        ]
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        gradients = Gradients("norm", parameters, {"a": parameters[:3], "b": parameters})
        for order in (1.0, 2.0, math.inf):
            norms = gradients.norms(order, torch.ones((), device="cuda:0"))
            assert [(one.shape, one.device, one.dtype) for one in norms] == [
                (torch.Size(()), torch.device("cuda:0"), torch.float32)
            ] * 3
            with pytest.raises(DataDependentOutputException):
                norms[0].item()


@settings(max_examples=60)
@given(
    shapes=st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=8),
    dtypes=st.lists(st.sampled_from([torch.float32, torch.float64, torch.complex64]), min_size=8, max_size=8),
    owners=st.lists(st.sets(st.integers(0, 3)), min_size=8, max_size=8),
    order=st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]),
    scale=st.sampled_from([None, 4.0]),
)
def test_norms_are_those_of_torch_for_any_shapes_and_layers(shapes, dtypes, owners, order, scale):
    """Of each layer they are what clip_grad_norm_ returns for its parameters alone."""
    parameters = []
    for shape, dtype in zip(shapes, dtypes[: len(shapes)], strict=True):
        parameters.append(torch.zeros(shape, dtype=dtype, requires_grad=True))
        parameters[-1].grad = torch.randn(shape, dtype=dtype)
    layers = {
        str(layer): [one for one, own in zip(parameters, owners, strict=False) if layer in own] for layer in range(4)
    }
    gradients = Gradients("norm", parameters, layers)
    expected = {"norm": parameters} | {f"norm/{layer}": own for layer, own in layers.items() if own}
    assert gradients.names == list(expected)
    norms = gradients.norms(order, None if scale is None else torch.tensor(scale))
    for name, value in zip(gradients.names, norms, strict=True):
        of_torch = torch.nn.utils.clip_grad_norm_(copy.deepcopy(expected[name]), math.inf, norm_type=order)
        assert value.item() == pytest.approx(of_torch.item() / (scale or 1.0), rel=1e-5)


@pytest.mark.parametrize("order", [0, -1.0, math.nan])
def test_an_order_that_is_none_is_refused(order):
    """The message says what to give."""
    message = f"GradientNorms got norm_type={order!r}; expected a number above 0, or infinity."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GradientNorms(norm_type=order)


def test_a_pattern_that_fits_nothing_is_refused_when_training_starts(tmp_path):
    """The message names the layers there are."""
    message = (
        "GradientNorms(by_layer=…) got the pattern 'decoder.*', which no module with parameters fits; '*' stands for"
        " any characters and '?' for any one. Layers are 'encoder.0.0', 'encoder.1.0', 'head'."
    )
    with pytest.raises(MisconfigurationException, match=f"^{re.escape(message)}$"):
        quiet_trainer(tmp_path, callbacks=[GradientNorms(["head", "decoder.*"])]).fit(Net(), loader())


@pytest.mark.skipif(torch.cuda.is_available(), reason="the strategy would take the device")
def test_a_strategy_that_splits_gradients_is_refused(tmp_path):
    """Norms of parts would look like norms, and be too small."""

    class Configured(Net):
        def configure_model(self):
            pass

    strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
    message = (
        "GradientNorms was given to a Trainer with ModelParallelStrategy, under which no process has the gradients as"
        " a whole; use DDPStrategy, or leave GradientNorms out."
    )
    # Lightning leaves the port in the environment, where programs would take it for theirs.
    with patch.dict(os.environ), pytest.raises(MisconfigurationException, match=f"^{re.escape(message)}$"):
        quiet_trainer(tmp_path, strategy=strategy, callbacks=[GradientNorms()]).fit(Configured(), loader())
    leave()
