"""Results file of a sweep: a CSV journal that is appended to, sorted at the end or converted to Parquet.

A run that is killed leaves complete rows and at most one incomplete line; the next run keeps the rows and truncates the
line. pyarrow, from the extra ``parquet``, is imported where Parquet is read or written, because it is optional.
"""

import csv
import os
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import IO, Any, Self

from lbsim.analysis.sweep import RESULT_COLUMNS, Sweep, SweepRow, Value
from lbsim.errors import InputError

__all__ = ["SweepResults"]

_CSV, _PARQUET = ".csv", ".parquet"
_JOURNAL = ".partial.csv"
"""Suffix of the journal of a Parquet file, after the file's name."""


class SweepResults:
    """Rows of *sweep* that are finished, in *file*, a context manager; InputError if the file is not usable."""

    def __init__(self, file: Path, sweep: Sweep) -> None:
        if file.suffix not in {_CSV, _PARQUET}:
            raise InputError(f"--out {file}: write results as .csv or .parquet")
        if file.suffix == _PARQUET and find_spec("pyarrow") is None:
            raise InputError(f"--out {file}: Parquet needs pyarrow: pip install 'lbsim[parquet]', or write .csv")
        self.file, self.sweep = file, sweep
        self.journal = file if file.suffix == _CSV else file.with_name(file.name + _JOURNAL)
        self.done: set[int] = set()
        """Indices in the grid of the scenarios that have a row."""
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            if self.file.suffix == _PARQUET and self.file.exists():
                self.done = self._in_parquet()
            else:
                self._begin()
        except OSError as error:
            raise self._unusable(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            empty = self._stream.tell() == 0
            self._stream.close()
            if empty:
                self.journal.unlink(missing_ok=True)

    def append(self, rows: Iterable[SweepRow]) -> None:
        """Append *rows*, which are on disk when this returns."""
        if self._stream is None:
            raise ValueError("append results only inside the context, before finish")
        kept = list(rows)
        try:
            if self._stream.tell() == 0:
                self._stream.write(_lines([self.sweep.columns]))
            self._stream.write(_lines([row[column] for column in self.sweep.columns] for row in kept))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._unusable(error) from None
        self.done.update(row["number"] for row in kept)

    def finish(self) -> int:
        """Write all rows in the order of the grid, atomically; return the number of invalid scenarios."""
        if self._stream is None:
            return self._failed_in_parquet()
        self._stream.close()
        self._stream = None
        rows = _by_number(_rows(self.journal.read_bytes())[1:])
        try:
            if self.file.suffix == _PARQUET:
                _replace(self.file, lambda temporary: _write_parquet(self.sweep, rows, temporary))
                self.journal.unlink()
            else:
                text = _lines([self.sweep.columns, *rows])
                _replace(self.file, lambda temporary: temporary.write_bytes(text))
        except OSError as error:
            raise self._unusable(error) from None
        return sum(1 for row in rows if row[self.sweep.columns.index("error")])

    def _begin(self) -> None:
        """Read existing rows, truncate an incomplete last line, and open the journal for appending."""
        header = _lines([self.sweep.columns])
        found = self.journal.read_bytes() if self.journal.exists() else b""
        if header.startswith(found):
            found = b""  # empty, or an incomplete header
        complete = found[: found.rfind(b"\n") + 1]
        self.done = self._numbers(complete) if found else set()
        self._stream = self.journal.open("r+b" if found else "wb")
        self._stream.truncate(len(complete))
        self._stream.seek(len(complete))

    def _numbers(self, text: bytes) -> set[int]:
        rows = _rows(text)
        if not rows or tuple(rows[0]) != self.sweep.columns:
            raise self._foreign()
        for line, row in enumerate(rows[1:], start=2):
            if len(row) != len(self.sweep.columns) or not row[0].isdecimal():
                raise InputError(
                    f"--out {self.journal}: line {line} is not a row of results; correct it or write elsewhere"
                )
            if row[-1] != self.sweep.identity:
                raise self._foreign()
        return {int(row[0]) for row in rows[1:]}

    def _in_parquet(self) -> set[int]:
        table = self._parquet()
        if tuple(table.column_names) != self.sweep.columns:
            raise self._foreign()
        if set(table.column("sweep").to_pylist()) != {self.sweep.identity}:
            raise self._foreign()
        self.journal.unlink(missing_ok=True)  # left by a run that was killed between the two files
        return set(table.column("number").to_pylist())

    def _failed_in_parquet(self) -> int:
        return sum(1 for error in self._parquet().column("error").to_pylist() if error)

    def _parquet(self) -> Any:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - optional, see above

        try:
            return parquet.read_table(self.file)
        except ArrowInvalid:
            raise self._foreign() from None

    def _foreign(self) -> InputError:
        return InputError(f"--out {self.file}: not results of this sweep; write to another file")

    def _unusable(self, error: OSError) -> InputError:
        return InputError(f"--out {self.file}: {error.strerror or error}")


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _rows(text: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(text.decode("utf-8", "replace"))))


def _by_number(rows: Iterable[list[str]]) -> list[list[str]]:
    """Return *rows* in the order of the grid, without duplicates."""
    return [row for _, row in sorted({int(row[0]): row for row in rows}.items())]


def _replace(file: Path, write: Any) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_parquet(sweep: Sweep, rows: Sequence[Sequence[str]], file: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - optional, see above
    from pyarrow import parquet  # noqa: PLC0415

    kinds = (
        dict.fromkeys(RESULT_COLUMNS, float) | {"number": int} | {axis.path: _kind(axis.values) for axis in sweep.axes}
    )
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    columns = {}
    for position, name in enumerate(sweep.columns):
        kind = kinds.get(name, str)
        column = [_read(row[position], kind) for row in rows]
        columns[name] = pa.array(column, types[kind])
    parquet.write_table(pa.table(columns), file)


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
