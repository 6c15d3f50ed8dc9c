"""Where the cases and traces of the targets are."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lbsim.measurements.case import case_files, read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES


@dataclass(frozen=True)
class Place:
    """Folders, and what stands in them."""

    cases: Path = PUBLISHED_CASES

    @property
    def traces(self) -> Path:
        """Beside the cases, ``harness`` and ``testbed``, if at all: an installed lbsim has neither."""
        return self.cases.absolute().parent

    @cached_property
    def classes(self) -> frozenset[str]:
        """Of the cases; InputError names a file that is wrong."""
        files = case_files(self.cases)
        return frozenset(entry.class_ for file in files for entry in read_case_file(file).observed)

    def no_case(self, class_: str) -> str:
        """Return why a line has no number."""
        return f"no case of the class '{class_}' in {self.cases} that can be left out"
