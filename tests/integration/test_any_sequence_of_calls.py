"""Any sequence of calls gives the same with the fast path open as without TrackPlus."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.drawn import VALUES
from tests.support.paired_runs import Saying
from tests.support.same import same

OPTIONS = [
    {},
    {"on_epoch": True},
    {"on_step": True, "on_epoch": True},
    {"on_step": False, "on_epoch": True},
    {"on_step": True, "on_epoch": True, "reduce_fx": "max", "prog_bar": True},
    {"on_epoch": True, "reduce_fx": "sum", "logger": False},
    {"on_epoch": True, "reduce_fx": "min", "batch_size": 3},
    {"on_epoch": True, "batch_size": 2, "prog_bar": True},
    {"on_epoch": True, "enable_graph": True},
    {"on_epoch": True, "sync_dist": True, "rank_zero_only": True},
]


@st.composite
def scripts(draw):
    """Draw what a module logs in each batch: names with their arguments, and now and then another argument."""
    usual_options = {name: draw(st.sampled_from(OPTIONS)) for name in "abcd"}
    other = st.one_of(*[st.none()] * 12, st.sampled_from(OPTIONS))

    def calls():
        made = []
        for _ in range(draw(st.integers(0, 4))):
            chosen = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
            options = draw(other) or usual_options[chosen[0]]
            made.append((draw(st.booleans()), chosen, options))
        return made

    variants = [calls() for _ in range(draw(st.integers(1, 2)))]
    order = draw(st.lists(st.sampled_from(variants), min_size=1, max_size=4))
    return order, draw(st.lists(VALUES, min_size=1, max_size=8))


def following(script):
    """Return what says, in one hook, what a script says."""
    order, values = script

    def say(module, count):
        at = count
        for as_dict, chosen, options in order[count % len(order)]:
            numbers = {name: values[(at + index) % len(values)] for index, name in enumerate(chosen)}
            at += len(chosen)
            if as_dict:
                module.log_dict(numbers, **options)
            else:
                for name, number in numbers.items():
                    module.log(name, number, **options)

    return say


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    hooks=st.fixed_dictionaries(
        {},
        optional={
            hook: scripts()
            for hook in (
                "training_step",
                "on_train_batch_end",
                "validation_step",
                "on_train_epoch_end",
                "on_validation_epoch_end",
                "on_before_optimizer_step",
            )
        },
    ),
    accumulate=st.sampled_from([1, 1, 2]),
    every=st.sampled_from([1, 1, 2]),
)
def test_any_sequence_of_calls(tmp_path_factory, hooks, accumulate, every):
    """Any calls in any hooks give the same numbers, warnings and errors."""
    same(
        tmp_path_factory.mktemp("drawn"),
        lambda: Saying(**{hook: following(script) for hook, script in hooks.items()}),
        accumulate_grad_batches=accumulate,
        log_every_n_steps=every,
    )
