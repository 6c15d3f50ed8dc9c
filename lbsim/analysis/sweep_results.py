"""Results file of a sweep: a CSV journal that is appended to, sorted at the end or converted to Parquet.

A run that is killed leaves complete rows and at most one incomplete line; the next run keeps the rows and truncates the
line. pyarrow, from the extra ``parquet``, is imported where Parquet is read or written, because it is optional.
"""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Self

from lbsim.analysis.sweep import RESULT_COLUMNS, Sweep, SweepRow, Value
from lbsim.analysis.sweep_journal import SweepJournal
from lbsim.atomic_write import cannot_write, check_writable, write_atomically
from lbsim.errors import InputError
from lbsim.signals import deferring_signals

__all__ = ["SweepResults"]

_CSV, _PARQUET = ".csv", ".parquet"
_JOURNAL = ".partial.csv"
"""Suffix of the journal of a Parquet file, after the file's name."""


class SweepResults:
    """Rows of *sweep* that are finished, in *file*, a context manager; InputError if the file is not usable.

    If another process is writing to the file, *on_wait* is called, and the context begins when that process ends.
    """

    def __init__(self, file: Path, sweep: Sweep, on_wait: Callable[[], None] = lambda: None) -> None:
        if file.suffix not in {_CSV, _PARQUET}:
            raise InputError(f"--out {file}: write results as .csv or .parquet")
        if file.suffix == _PARQUET and find_spec("pyarrow") is None:
            raise InputError(f"--out {file}: Parquet needs pyarrow: pip install 'lbsim[parquet]', or write .csv")
        self.file, self.sweep = file, sweep
        self.journal = file if file.suffix == _CSV else file.with_name(file.name + _JOURNAL)
        self.done: set[int] = set()
        """Indices in the grid of the scenarios that have a row."""
        self._open = SweepJournal(self.journal, on_wait)

    def __enter__(self) -> Self:
        check_writable(self.file)
        try:
            self._begin()
        except OSError as error:
            self._open.close()
            raise cannot_write(self.journal, error) from None
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def append(self, rows: Iterable[SweepRow]) -> None:
        """Append *rows*, which are on disk when this returns."""
        if not self._open.is_open:
            raise ValueError("append results only inside the context, before finish")
        kept = list(rows)
        if not kept:
            return
        cells = [[row[column] for column in self.sweep.columns] for row in kept]
        with deferring_signals():
            try:
                self._open.append(_lines([self.sweep.columns, *cells] if not self.done else cells))
            except OSError as error:
                raise cannot_write(self.journal, error) from None
            self.done.update(row["number"] for row in kept)

    def finish(self) -> int:
        """Write all rows in the order of the grid, atomically; return the number of invalid scenarios."""
        if not self._open.is_open:
            return self._failed_in_parquet()
        rows = _by_number(_rows(self._open.read())[1:])
        if self.file.suffix == _PARQUET:
            write_atomically(_parquet_file(self.sweep, rows), self.file)
            self.journal.unlink(missing_ok=True)
        else:
            write_atomically(_lines([self.sweep.columns, *rows]), self.file)
        self._open.close()
        return sum(1 for row in rows if row[self.sweep.columns.index("error")])

    def _begin(self) -> None:
        """Read the rows of a finished Parquet file, or lock the journal and read its rows."""
        while not (self.file.suffix == _PARQUET and self.file.exists()):
            if self._open.open():
                self._read_journal()
                return
        self.done = self._in_parquet()

    def _read_journal(self) -> None:
        """Read existing rows, and truncate an incomplete last line."""
        header = _lines([self.sweep.columns])
        found = self._open.read()
        if header.startswith(found):
            found = b""  # empty, or an incomplete header, or a header without rows
        complete = found[: found.rfind(b"\n") + 1]
        self.done = self._numbers(complete) if found else set()
        self._open.truncate(len(complete))

    def _numbers(self, text: bytes) -> set[int]:
        """Return the indices in the grid of the rows in *text*; InputError unless all are results of this sweep."""
        try:
            rows = _rows(text)
        except csv.Error as error:
            raise InputError(f"--out {self.journal}: {error}; correct it or write elsewhere") from None
        if not rows or tuple(rows[0]) != self.sweep.columns:
            raise self._foreign()
        numbers = frozenset(map(str, self.sweep.numbers))
        for line, row in enumerate(rows[1:], start=2):
            if len(row) != len(self.sweep.columns) or row[0] not in numbers or not self._are_results(row):
                raise InputError(
                    f"--out {self.journal}: line {line} is not a row of results; correct it or write elsewhere"
                )
            if row[-1] != self.sweep.identity:
                raise self._foreign()
        return {int(row[0]) for row in rows[1:]}

    def _are_results(self, row: Sequence[str]) -> bool:
        """Return whether the cells of *row* are finite numbers, or empty beside an error."""
        cells = dict(zip(self.sweep.columns, row, strict=True))
        results = [cells[column] for column in RESULT_COLUMNS]
        try:
            return not any(results) if cells["error"] else all(math.isfinite(float(text)) for text in results)
        except ValueError:
            return False

    def _in_parquet(self) -> set[int]:
        table = self._parquet()
        if table.schema.names != list(self.sweep.columns) or table.schema.types != _types(self.sweep):
            raise self._foreign()
        numbers: set[int] = set(table.column("number").to_pylist())
        if set(table.column("sweep").to_pylist()) != {self.sweep.identity} or numbers != set(self.sweep.numbers):
            raise self._foreign()
        self.journal.unlink(missing_ok=True)  # left by a run that was killed between the two files
        return numbers

    def _failed_in_parquet(self) -> int:
        return sum(1 for error in self._parquet().column("error").to_pylist() if error)

    def _parquet(self) -> Any:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - optional, see above

        try:
            return parquet.read_table(self.file)
        except ArrowException:
            raise self._foreign() from None

    def _foreign(self) -> InputError:
        return InputError(f"--out {self.file}: not results of this sweep; write to another file")


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _rows(text: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(text.decode("utf-8", "replace"))))


def _by_number(rows: Iterable[list[str]]) -> list[list[str]]:
    """Return *rows* in the order of the grid, without duplicates."""
    return [row for _, row in sorted({int(row[0]): row for row in rows}.items())]


def _parquet_file(sweep: Sweep, rows: Sequence[Sequence[str]]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - optional, see above
    from pyarrow import parquet  # noqa: PLC0415

    columns = {}
    for position, (name, kind, type_) in enumerate(zip(sweep.columns, _kinds(sweep), _types(sweep), strict=True)):
        columns[name] = pa.array([_read(row[position], kind) for row in rows], type_)
    file = BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def _types(sweep: Sweep) -> list[Any]:
    """Return the type in Parquet of each column."""
    import pyarrow as pa  # noqa: PLC0415 - optional, see above

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    return [types[kind] for kind in _kinds(sweep)]


def _kinds(sweep: Sweep) -> list[type]:
    """Return the type of the values of each column."""
    kinds = (
        dict.fromkeys(RESULT_COLUMNS, float) | {"number": int} | {axis.path: _kind(axis.values) for axis in sweep.axes}
    )
    return [kinds.get(name, str) for name in sweep.columns]


def _kind(values: Sequence[Value]) -> type:
    """Return the narrowest type that represents all *values*."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1:
        return kinds.pop()
    return float if kinds <= {int, float} else str


def _read(text: str, kind: type) -> object:
    if not text:
        return None
    return text == "True" if kind is bool else kind(text)
