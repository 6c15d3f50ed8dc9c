"""Benchmarks with published work to a target, such as MLPerf's: their recipes, and work by batch."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from lbsim.accuracy.benchmark_law import BenchmarkLaw
from lbsim.accuracy.convergence_data import rows_by_series, work_by_recipe
from lbsim.accuracy.convergence_fit import fit_work
from lbsim.accuracy.convergence_law import Estimate
from lbsim.accuracy.recipe import OptimizerName, OptimizerSettings, PublishedResult, Recipe
from lbsim.errors import InputError
from lbsim.profiles.profile import Table, Text

__all__ = ["Benchmark", "BenchmarkRecipe", "WorkAtBatch", "benchmark_recipe", "benchmarks", "find", "work_by_batch"]

_FILE = Path(__file__).parent / "evidence" / "benchmarks.toml"


class Benchmark(Table):
    """A benchmark: model, target and unit of work."""

    name: Text
    series: Text
    """Recipe in `lbsim.accuracy.convergence_data.work_by_recipe`."""
    model: Text
    workload: Text | None = None
    """Module of ``lbsim/workload/models``; None if the model has none."""
    metric: Text
    target: float = Field(gt=0)
    """Value of the metric, as published."""
    unit: Literal["epochs", "samples", "tokens"]
    """Unit of the work to the target."""
    optimizer: OptimizerName

    @property
    def in_percent(self) -> bool:
        """Whether the metric is a share, which is given in percent."""
        return self.target < 1 and "loss" not in self.metric and "mean absolute" not in self.metric

    @property
    def shown_target(self) -> float:
        """Value of the metric, in percent if it is a share."""
        return round(100 * self.target, 9) if self.in_percent else self.target

    @property
    def target_text(self) -> str:
        """Target with its metric, for users."""
        return f"{self.shown_target:g}{'%' if self.in_percent else ''} {self.metric}"

    def trains(self, model: str | None) -> bool:
        """Return whether *model* names this benchmark's model, and not a workload of the user's own."""
        return model is None or model in {self.model, self.workload} or self.model.startswith(f"{model}-")

    def check_target(self, text: str) -> float:
        """Return the target if *text* is that target, as a share or in percent; InputError otherwise."""
        try:
            given = float(text.strip().removesuffix("%"))
        except ValueError:
            given = float("nan")
        valid = {self.target, self.shown_target}
        if not any(abs(given - value) <= 1e-6 * value for value in valid):
            hint = f"{self.shown_target:g}{'%' if self.in_percent else ''}"
            raise InputError(
                f"--target {text}: the evidence of {self.name} is for {self.target_text} only; write --target {hint}"
            )
        return self.shown_target


class BenchmarkRecipe(Recipe):
    """A recipe whose evidence is the work to one target; learning rates and schedules are those of the sources."""

    benchmark: Benchmark


@dataclass(frozen=True)
class WorkAtBatch:
    """Work to the target of a benchmark at one batch."""

    batch: int
    work: Estimate
    """Work in the benchmark's unit."""
    published: float | None
    """Published mean at this batch, in the benchmark's unit."""
    steps: float | None
    """Median number of optimizer steps; None unless work is in samples."""
    beyond_evidence: bool


@lru_cache
def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {name: Benchmark.model_validate({"name": name, "series": name} | table) for name, table in tables.items()}


def find(model: str, recipe: str | None) -> Benchmark | None:
    """Return the benchmark named *recipe*, or without a recipe that of *model*; None if there is none.

    *model* is the name of the benchmark's model or workload, or the beginning of one model's name.
    """
    if recipe is not None:
        return benchmarks().get(recipe)
    every = list(benchmarks().values())
    exact = [benchmark for benchmark in every if model in {benchmark.model, benchmark.workload}]
    beginning = [benchmark for benchmark in every if benchmark.model.startswith(f"{model}-")]
    return exact[0] if exact else beginning[0] if len(beginning) == 1 else None


def benchmark_recipe(benchmark: Benchmark, model: str, samples: int) -> tuple[BenchmarkRecipe, BenchmarkLaw]:
    """Return the recipe of *benchmark* and its law, in epochs of *samples* samples.

    *model* is the workload that is trained. InputError if the work is in tokens, whose number per sample is unknown.
    """
    if benchmark.unit == "tokens":
        raise InputError(f"{benchmark.name}: its work is in tokens, which are not epochs of {model}")
    size = samples if benchmark.unit == "samples" else 1
    works = {batch: work / size for batch, work in work_by_recipe()[benchmark.series].items()}
    law = fit_work(list(works), list(works.values()))
    target = benchmark.shown_target
    return _recipe(benchmark, model, works), BenchmarkLaw(**vars(law), target=target)


def work_by_batch(benchmark: Benchmark, batch: int | None = None) -> tuple[WorkAtBatch, ...]:
    """Return the work to the target of *benchmark* at *batch*, or at the batches of the evidence and two doublings."""
    works = work_by_recipe()[benchmark.series]
    law = fit_work(list(works), list(works.values()))
    largest = max(works)
    return tuple(
        _work_at(benchmark, each, law.work(each), works.get(each), beyond=law.beyond_evidence(each))
        for each in ([batch] if batch is not None else [*works, 2 * largest, 4 * largest])
    )


def _work_at(benchmark: Benchmark, batch: int, work: Estimate, published: float | None, *, beyond: bool) -> WorkAtBatch:
    steps = work.value / batch if benchmark.unit == "samples" else None
    return WorkAtBatch(batch, work, published, steps, beyond)


def _recipe(benchmark: Benchmark, model: str, works: dict[int, float]) -> BenchmarkRecipe:
    """Return the recipe, given the epochs to the target by batch."""
    name = benchmark.name
    source = rows_by_series("work_to_target")[benchmark.series][0].source
    top1 = min(100.0, benchmark.shown_target)
    return BenchmarkRecipe(
        name=name,
        source=source,
        model=model,
        dataset=name,
        batch_least=min(works),
        batch_most=max(works),
        optimizer=OptimizerSettings(name=benchmark.optimizer),
        epochs=max(works.values()),
        penalty="lars",
        evidence=tuple(
            PublishedResult(id=name, batch=batch, epochs=epochs, top1=top1, source=source, locator=name)
            for batch, epochs in works.items()
        ),
        benchmark=benchmark,
    )
