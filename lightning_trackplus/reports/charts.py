"""The charts of a report: which curves share one, the bands around them, and what of them a screen can show."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reading.curves import Curve
from lightning_trackplus.reports.data import Clock, ReportRun
from lightning_trackplus.views.thinning import thinned

Floats: TypeAlias = NDArray[np.float64]
Members: TypeAlias = dict[str, str]

_MEMBER = re.compile(r"(?P<family>.+)_(?P<member>mean|median|min|max|p\d+(\.\d+)?|ema[\d.]*|step|epoch)")
_BANDS = [("p5", "p95"), ("p10", "p90"), ("p25", "p75"), ("p1", "p99"), ("min", "max")]
_CENTRES = {"value", "mean", "median", "epoch"}
_MOST_LINES = 20
_INT32 = 2**31


class Lines(NamedTuple):
    """What has one colour in all charts: a run, or the runs that share a hyper-parameter.

    Attributes:
        name: What the page calls it.
        runs: The run or the runs.
        clock: When its steps were.
        curves: Its curves by name.
        deviations: The standard deviation around each curve, where it is a mean over runs.
    """

    name: str
    runs: Sequence[ReportRun]
    clock: Clock
    curves: Mapping[str, Curve]
    deviations: Mapping[str, Floats]


def lines_of(runs: Sequence[ReportRun], group_by: str | None) -> list[Lines]:
    """Return the lines of each run, or those of the runs that share the value of a hyper-parameter.

    Raises:
        ValueError: If no run has such a hyper-parameter.
    """
    if group_by is None:
        return [Lines(run.name, [run], run.clock, run.curves, {}) for run in runs]
    known = list(dict.fromkeys(name for run in runs for name in run.hparams))
    if group_by not in known:
        raise ValueError(
            f"report got group_by={group_by!r}, which no run has as a hyper-parameter; expected one of {known}."
        )
    groups: dict[str, list[ReportRun]] = defaultdict(list)
    for run in runs:
        groups[str(run.hparams.get(group_by, "—"))].append(run)
    return [_mean_lines(f"{group_by} = {value}", group) for value, group in groups.items()]


def charts_of(lines: Sequence[Lines]) -> list[dict[str, Any]]:
    """Return the charts in the order of their names' prefixes, each as the page's script takes it."""
    names = list(dict.fromkeys(name for one in lines for name in one.curves))
    has_deviations = any(one.deviations for one in lines)
    charts = []
    for title, members, band in _charts(names, is_one=len(lines) == 1, has_bands=not has_deviations):
        drawn = [
            {"run": number, "label": label, **_line(one.curves[name]), **_deviation(one, name)}
            for number, one in enumerate(lines)
            for label, name in members.items()
            if name in one.curves
        ]
        bands = [
            {"run": number, "label": " to ".join(band), **shape}
            for number, one in enumerate(lines)
            if band and (shape := _band(*map(one.curves.get, band.values())))
        ]
        curves = [one.curves[name] for one in lines for name in members.values() if name in one.curves]
        section = title.partition("/")[0] if "/" in title else ""
        chart = {"title": title, "section": section, "labels": list(members), "lines": drawn, "bands": bands}
        charts.append(chart | {"ofBatches": all(curve.of_batches for curve in curves)})
    order = list(dict.fromkeys(chart["section"] for chart in charts))
    return sorted(charts, key=lambda chart: order.index(chart["section"]))


def packed(numbers: NDArray[Any]) -> dict[str, str]:
    """Return an array as plotly takes it from JSON: its type and its bytes in base64."""
    as_integers = bool(np.all((np.abs(numbers) < _INT32) & (np.rint(numbers) == numbers)))
    dtype = "i4" if as_integers else "f8"
    return {"dtype": dtype, "bdata": base64.b64encode(numbers.astype(f"<{dtype}").tobytes()).decode()}


def _charts(names: Sequence[str], *, is_one: bool, has_bands: bool) -> Iterator[tuple[str, Members, Members]]:
    """Yield for each chart its title, its lines and its band; both dicts map label to metric name.

    With one run, what reductions of one name gave shares a chart, and so do the numbers of ``names=``, such as one for
    each class. With several, each name has its own, as the runs share it.
    """
    for title, members in _families(names).items():
        can_have_band = has_bands and not _CENTRES.isdisjoint(members)
        pair = next((pair for pair in _BANDS if can_have_band and {*pair} <= {*members}), ())
        band = {label: members[label] for label in pair}
        rest = {label: name for label, name in members.items() if label not in band}
        if is_one and len(rest) <= _MOST_LINES:
            yield title, rest, band
        else:
            # What the band is around, such as the mean.
            yield from ((name, {"": name}, band if label in _CENTRES else {}) for label, name in rest.items())


def _families(names: Sequence[str]) -> dict[str, Members]:
    """Return the names that belong together by what they begin with, each by how it ends."""
    found: dict[str, Members] = defaultdict(dict)
    for name in names:
        family, member = name, "value"
        if match := _MEMBER.fullmatch(name):
            family, member = match["family"], match["member"]
        elif name.count("/") > 1:
            family, _, member = name.rpartition("/")
        found[family][name if member in found[family] else member] = name
    # The only one of a family has a chart by its full name.
    return {family if len(members) > 1 else next(iter(members.values())): members for family, members in found.items()}


def _line(curve: Curve) -> dict[str, Any]:
    places = thinned(curve.values)
    return {"x": packed(curve.steps[places]), "y": packed(curve.values[places])}


def _deviation(lines: Lines, name: str) -> dict[str, Any]:
    if name not in lines.deviations:
        return {}
    mean, deviation = lines.curves[name], lines.deviations[name]
    return {"band": _band(mean._replace(values=mean.values - deviation), mean._replace(values=mean.values + deviation))}


def _band(low: Curve | None, high: Curve | None) -> dict[str, Any]:
    """Return the band between two curves, at the steps that both have; an empty dict if they have none in common."""
    if low is None or high is None:
        return {}
    _, first, second = np.intersect1d(low.steps, high.steps, return_indices=True)
    steps, bottom, top = low.steps[first], low.values[first], high.values[second]
    places = np.union1d(thinned(bottom), thinned(top))
    if not len(steps):
        return {}
    return {"x": packed(steps[places]), "low": packed(bottom[places]), "high": packed(top[places])}


def _mean_lines(name: str, runs: Sequence[ReportRun]) -> Lines:
    """Return the mean of each curve over runs, and the deviation around it where there are several."""
    curves, deviations = {}, {}
    for metric in dict.fromkeys(metric for run in runs for metric in run.curves):
        several = [run.curves[metric] for run in runs if metric in run.curves]
        with np.errstate(all="ignore"):  # Of infinities and of numbers near the largest.
            steps, table = _aligned(several)
            mean, deviation = table.mean(0), table.std(0, ddof=min(len(several) - 1, 1))
        shown = np.isfinite(mean) & np.isfinite(deviation)
        if not shown.any():
            continue
        curves[metric] = Curve(steps[shown], mean[shown], several[0].of_batches)
        if len(several) > 1:
            deviations[metric] = deviation[shown]
    counted = f"{name} ({len(runs)} {'run' if len(runs) == 1 else 'runs'})"
    # The runs were not at a step at the same time.
    return Lines(counted, runs, runs[0].clock._replace(times=np.empty((2, 0))), curves, deviations)


def _aligned(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Return the steps of curves, from where all have begun to where the first ends, and their values there."""
    ordered = [_ordered(curve) for curve in curves]
    first = max(steps[0] for steps, _ in ordered)
    last = min(steps[-1] for steps, _ in ordered)
    union = np.unique(np.concatenate([steps for steps, _ in ordered]))
    union = union[(union >= first) & (union <= last)]
    return union, np.array([np.interp(union, steps, values) for steps, values in ordered])


def _ordered(curve: Curve) -> tuple[Floats, Floats]:
    """Return a curve in the order of its steps, of one step the last value."""
    steps, places = np.unique(curve.steps[::-1], return_index=True)
    return steps, curve.values[::-1][places]
