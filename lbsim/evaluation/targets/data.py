"""Cases and traces on which targets are evaluated."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.rates import rates
from lbsim.measurements.case import case_files, read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES

__all__ = ["TargetData"]


@dataclass(frozen=True)
class TargetData:
    """Folder of cases, and the traces beside it."""

    cases: Path = PUBLISHED_CASES

    @property
    def traces(self) -> Path:
        """Folder with ``harness`` and ``testbed``, beside the cases; an installed lbsim has neither."""
        return self.cases.absolute().parent

    @cached_property
    def classes(self) -> frozenset[str]:
        """Classes of the cases; InputError names a file that is wrong."""
        files = case_files(self.cases)
        return frozenset(entry.class_ for file in files for entry in read_case_file(file).observed)

    @cached_property
    def single_gpu_fit(self) -> Fit | None:
        """Fit to the rates of one GPU; None if there are fewer than two sources, of which one can be held out."""
        data = rates("calibrate", self.cases)
        return Fit(data) if len({rate.case.system for rate in data}) > 1 else None
