"""Counts the faults that the tests find: changes one expression of the package at a time and runs the tests.

A seeded sample of mutants is drawn from all folders of the package. Each runs the tests that reach its line, the
shortest first, until one fails. Which tests these are comes from a run of the suite with coverage::

    pytest --cov --cov-context=test --junitxml=tests.xml
    python -m benchmarks.mutants --coverage .coverage --durations tests.xml --sample 160 --output mutants.json

A mutant that is still alive survives. To see whether a change of the tests lost something, run the same mutants on it::

    python -m benchmarks.mutants --coverage … --durations … --again mutants.json --output after.json
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import contextlib
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import coverage
import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE = "lightning_trackplus"

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}


# Of pytest: all pass; the tests named are not there; no test was found. All else is that something failed.
_OUTCOMES = {0: "survived", 4: "error", 5: "error"}


class Mutant(NamedTuple):
    """One change: the text between two offsets of a file, in bytes, and what stands there instead."""

    path: str
    line: int
    last_line: int
    start: int
    end: int
    text: str

    def __str__(self) -> str:
        source = (CHECKOUT / self.path).read_bytes()
        return f"{self.path}:{self.line}: {source[self.start : self.end].decode()!r} -> {self.text!r}"


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield ast.Compare(node.left, [COMPARISONS[type(operator)]()], node.comparators)
        case ast.BoolOp(op=operator):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(operator)](), node.right)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.AugAssign(op=ast.Add()):
            yield ast.AugAssign(node.target, ast.Sub(), node.value)


def mutants_of(path: Path) -> list[Mutant]:
    """Return all mutants of a file; type hints, names of types and what is only for type checkers are left out."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in nodes_that_run(ast.parse(source)):
        if not isinstance(node, ast.expr | ast.stmt):
            continue
        for new in changed(node):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            text = ast.unparse(new)
            text = f"({text})" if isinstance(new, ast.expr) and not isinstance(new, ast.Constant) else text
            found.append(Mutant(str(path.relative_to(CHECKOUT)), node.lineno, node.end_lineno, start, end, text))
    return found


def nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below one, without annotations and blocks under TYPE_CHECKING."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield from nodes_that_run(child)


def sampled(count: int, seed: int) -> list[Mutant]:
    """Return mutants from all folders: one from each, the others from whatever file they fall into."""
    by_folder = defaultdict(list)
    for path in sorted((CHECKOUT / PACKAGE).rglob("*.py")):
        by_folder[path.parent] += mutants_of(path)
    generator = random.Random(seed)
    first = [generator.choice(found) for found in by_folder.values() if found]
    others = [mutant for found in by_folder.values() for mutant in found if mutant not in first]
    return sorted(first + generator.sample(others, max(0, count - len(first))))


class Tests:
    """Which tests reach a line, by a run of the suite with coverage, and how long each takes."""

    def __init__(self, coverage_file: Path, durations: Path) -> None:
        self._data = coverage.CoverageData(str(coverage_file))
        self._data.read()
        self._files = {name.split(f"/{PACKAGE}/", 1)[1]: name for name in self._data.measured_files()}
        self._seconds = {}
        for case in ElementTree.parse(durations).iter("testcase"):
            self._seconds[f"{case.get('classname')}.{case.get('name')}"] = float(case.get("time"))
        self._contexts = {}
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-cov"]
        # A name that holds an address is another one in each process.
        listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        self._names = {line for line in listed.splitlines() if "::" in line}

    def reaching(self, mutant: Mutant, seconds: float) -> list[str]:
        """Return tests that run a mutant's lines, the shortest first, as many as fit into some seconds.

        Of a test with parameters, some cases come early and the others at the end.
        """
        lines = self._lines(mutant.path.split("/", 1)[1])
        reach = {test for line in range(mutant.line, mutant.last_line + 1) for test in lines.get(line, ())}
        if not reach:  # It runs when the module is imported, or in another process: all that use the module.
            reach = {test for tests in lines.values() for test in tests}
        reach &= self._names
        rank, seen = {}, Counter()
        for test in sorted(reach, key=lambda test: (self.seconds(test), test)):
            function = test.split("[", 1)[0]
            rank[test] = (seen[function] // 3, self.seconds(test))
            seen[function] += 1
        chosen, sum_of_seconds = [], 0.0
        for test in sorted(reach, key=rank.__getitem__):
            sum_of_seconds += self.seconds(test) + 0.02
            if chosen and sum_of_seconds > seconds:
                break
            chosen.append(test)
        return chosen

    def seconds(self, test: str) -> float:
        """Return how long a test took."""
        path, _, name = test.partition("::")
        return self._seconds.get(f"{path.removesuffix('.py').replace('/', '.')}.{name.replace('::', '.')}", 1.0)

    def _lines(self, path: str) -> dict[int, set[str]]:
        if path not in self._contexts:
            found = self._data.contexts_by_lineno(self._files[path]) if path in self._files else {}
            self._contexts[path] = {
                line: {one.rpartition("|")[0] or one for one in contexts if "::" in one}
                for line, contexts in found.items()
            }
        return self._contexts[path]


def outcome(checkout: Path, mutant: Mutant, tests: list[str], limit: float) -> str:
    """Run tests on a copy of the checkout that has the mutant, and return what became of it."""
    target = checkout / mutant.path
    original = target.read_bytes()
    target.write_bytes(original[: mutant.start] + mutant.text.encode() + original[mutant.end :])
    try:
        if not tests:
            return "not reached"
        return run_in_fork(checkout, tests, limit)
    finally:
        target.write_bytes(original)


def run_in_fork(checkout: Path, tests: list[str], limit: float) -> str:
    """Run pytest in a process that has all libraries already, and say whether a test failed."""
    child = os.fork()
    if child == 0:
        run_tests(checkout, tests)
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return _OUTCOMES.get(os.waitstatus_to_exitcode(status), "killed")
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "hung"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


def run_tests(checkout: Path, tests: list[str]) -> None:
    """Become a process of its own group that runs tests and ends."""
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    os.environ["PYTHONPATH"] = str(checkout)
    options = ["-x", "-q", "--no-cov", "-p", "no:cacheprovider", "-p", "no:randomly"]
    os._exit(int(pytest.main([*options, *tests])))


def worker(tasks: list[tuple[int, Mutant, list[str]]], limit: float, checkout: Path) -> list[tuple[int, str, float]]:
    """Try mutants one after the other in a copy of the checkout."""
    # What takes seconds to import is imported before the processes of the mutants part from this one.
    for name in ("lightning.pytorch", "pytest", "hypothesis", "tensorboard", "matplotlib", "pandas", "scipy.stats"):
        __import__(name)
    found = []
    for number, mutant, tests in tasks:
        begin = time.monotonic()
        result = outcome(checkout, mutant, tests, limit)
        found.append((number, result, time.monotonic() - begin))
        print(f"{result:12} {time.monotonic() - begin:5.1f} s  {len(tests):5} tests  {mutant}", flush=True)
    return found


def in_parallel(tasks: list, limit: float, processes: int) -> list[str]:
    """Try mutants in several processes, each with a copy of the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        repeat = queue.SimpleQueue()
        for number in range(processes):
            place = Path(folder, str(number))
            ignored = shutil.ignore_patterns(".git", ".venv", ".tox", "__pycache__", ".*_cache", ".hypothesis")
            shutil.copytree(CHECKOUT, place, ignore=ignored)
            repeat.put(place)
        with concurrent.futures.ProcessPoolExecutor(processes) as pool:
            parts = [pool.submit(worker, tasks[n::processes], limit, repeat.get()) for n in range(processes)]
            results = {number: result for part in parts for number, result, _ in part.result()}
    return [results[number] for number, *_ in tasks]


def main() -> None:
    """Draw mutants, or take those of an earlier run, try each and print the sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coverage", type=Path, required=True, help="the .coverage of a run with --cov-context=test")
    parser.add_argument("--durations", type=Path, required=True, help="its --junitxml")
    parser.add_argument("--sample", type=int, default=160, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path, help="take the mutants of this earlier output")
    parser.add_argument("--only", help="with --again: only those with this outcome")
    parser.add_argument("--output", type=Path, required=True, help="where the outcomes go, as JSON")
    parser.add_argument("--seconds", type=float, default=60, help="tests of a mutant together, at the most")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"

    if options.again:
        earlier = json.loads(options.again.read_text())
        mutants = [Mutant(*row["mutant"]) for row in earlier if options.only in {None, row["outcome"]}]
    else:
        mutants = sampled(options.sample, options.seed)
    tests = Tests(options.coverage, options.durations)
    tasks = [(number, one, tests.reaching(one, options.seconds)) for number, one in enumerate(mutants)]
    outcomes = in_parallel(tasks, 4 * options.seconds, options.processes)

    rows = [
        {"mutant": list(one), "outcome": result, "says": str(one)}
        for one, result in zip(mutants, outcomes, strict=True)
    ]
    options.output.write_text(json.dumps(rows, indent=1))
    print(*Counter(outcomes).items(), sep="\n")
    print(*(row["says"] for row in rows if row["outcome"] != "killed"), sep="\n")


if __name__ == "__main__":
    main()
