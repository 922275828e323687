"""A dump cut into slices, in the order in which they are loaded; and the rows of one slice."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from freshlens.backfill.dump import Dump
from freshlens.backfill.rows import Row, Slice
from freshlens.backfill.values import line_of
from schemas.errors import SettingsError

SLICE_BYTES = 8 * 1024 * 1024
SLICE_ROWS = 4_096
"""A slice has so many rows or bytes and more: Parquet is cut between row groups, lines are cut by bytes."""
LINE_BYTES_MAX = 20 * 1024 * 1024
"""A product with a picture of 10 MiB in base64 fits."""
ROWS_AT_ONCE = 64
BANDS = (0.01, 0.1, 0.5)
"""The most popular hundredth of all rows is loaded first, then the rest of the tenth, and so on."""

Popularity = npt.NDArray[np.float64]
_BLOCK_BYTES = 1024 * 1024
_JSON = msgspec.json.Decoder(dict[str, Any])


class Line(NamedTuple):
    """One line of a file: its number from 1, where it begins, and its bytes; ``b""``: too long."""

    number: int
    start: int
    raw: bytes


def slices_of(dump: Dump) -> list[Slice]:
    """The whole dump, file by file; files of lines are read once for it, to count them.

    Raises:
        SettingsError: a file cannot be read.
    """
    found: list[Slice] = []
    for number, file in enumerate(dump.files):
        try:
            found += _parquet_slices(dump, number) if file.is_parquet else _line_slices(dump, number)
        except (OSError, pa.ArrowException) as error:
            raise SettingsError(f"{file.name} cannot be read: {error}") from error
    return found


def by_popularity(slices: Sequence[Slice], popularity: Sequence[Popularity]) -> list[Slice]:
    """The same rows in bands, the most popular first; every slice is read once per band that it has rows of. Pure.

    Args:
        popularity: of each slice's rows, -inf where it is not known.
    """
    values = np.concatenate(popularity) if popularity else np.zeros(0)
    if not len(values):
        return list(slices)
    bounds = [float(bound) for bound in np.quantile(values, [1 - share for share in BANDS], method="lower")]
    edges: list[float | None] = [None, *sorted(set(bounds), reverse=True), None]
    found: list[Slice] = []
    for most, least in pairwise(edges):
        for slice_, own in zip(slices, popularity, strict=True):
            rows = int(np.count_nonzero(_within(own, most, least)))
            if rows:
                found.append(msgspec.structs.replace(slice_, rows=rows, most=most, least=least))
    return found


def popularity_of(dump: Dump, slice_: Slice, column: str) -> Popularity:
    """The popularity of each row of a slice.

    Raises:
        SettingsError: a Parquet file has no such column of numbers.
    """
    if dump.files[slice_.file].is_parquet:
        return _column(dump, slice_, column)
    rows = _lines(dump, slice_)
    return np.array([_number(_decoded(line.raw).get(column)) for line in rows if line.raw.strip() or not line.raw])


def rows_of(dump: Dump, slice_: Slice, popularity: str | None = None) -> Iterator[Row]:
    """The rows of a slice; of its band of popularity, and without that column, where one was named."""
    rows = _parquet_rows(dump, slice_) if dump.files[slice_.file].is_parquet else _line_rows(dump, slice_)
    return rows if popularity is None else _of_band(rows, slice_, popularity)


def product_ids(dump: Dump, slice_: Slice) -> Iterator[str | None]:
    """The product of each row of a slice; None where it cannot be told."""
    if dump.files[slice_.file].is_parquet:
        with _parquet(dump, slice_) as file:
            if "product_id" not in file.schema_arrow.names:
                yield from [None] * slice_.rows
                return
            for batch in file.iter_batches(row_groups=_groups(slice_), columns=["product_id"]):
                yield from (each if isinstance(each, str) else None for each in batch.column(0).to_pylist())
        return
    for row in _line_rows(dump, slice_):
        found = _decoded(row.line).get("product_id")
        yield found if isinstance(found, str) else None


def _of_band(rows: Iterator[Row], slice_: Slice, column: str) -> Iterator[Row]:
    for row in rows:
        product = _decoded(row.line)
        value = _number(product.pop(column, None))
        is_below = slice_.most is None or value < slice_.most
        if is_below and (slice_.least is None or value >= slice_.least):
            line = row.line if row.broken or not product else msgspec.json.encode(product)
            yield msgspec.structs.replace(row, line=line)


def _within(values: Popularity, most: float | None, least: float | None) -> npt.NDArray[np.bool_]:
    above = np.ones(len(values), dtype=bool) if least is None else values >= least
    return above if most is None else above & (values < most)


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(value) if is_number else -np.inf


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return _JSON.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


# --- Parquet ------------------------------------------------------------------------------------------------


def _parquet(dump: Dump, slice_: Slice) -> pq.ParquetFile:
    # Buffered, or a whole column of a row group would be in memory: of pictures, gigabytes.
    return pq.ParquetFile(slice_.path, filesystem=dump.filesystem(), buffer_size=_BLOCK_BYTES)


def _rows_at_once(file: pq.ParquetFile, slice_: Slice) -> int:
    """Few where rows are large: pictures within them."""
    groups = [file.metadata.row_group(group) for group in _groups(slice_)]
    largest = max(group.total_byte_size // max(1, group.num_rows) for group in groups)
    return int(max(1, min(ROWS_AT_ONCE, SLICE_BYTES // max(1, largest))))


def _groups(slice_: Slice) -> list[int]:
    return list(range(slice_.start, slice_.stop))


def _parquet_slices(dump: Dump, number: int) -> list[Slice]:
    path, found, start, first, rows = dump.files[number].path, [], 0, 1, 0
    with pq.ParquetFile(path, filesystem=dump.filesystem()) as file:
        groups = file.metadata.num_row_groups
        for group in range(groups):
            rows += file.metadata.row_group(group).num_rows
            if rows >= SLICE_ROWS or (group == groups - 1 and rows):
                found.append(Slice(number, path, start, group + 1, first, first + rows - 1, rows))
                start, first, rows = group + 1, first + rows, 0
    return found


def _parquet_rows(dump: Dump, slice_: Slice) -> Iterator[Row]:
    number = slice_.first
    with _parquet(dump, slice_) as file:
        for batch in file.iter_batches(_rows_at_once(file, slice_), row_groups=_groups(slice_)):
            for values in batch.to_pylist():
                yield _row(number, values)
                number += 1


def _row(number: int, values: dict[str, Any]) -> Row:
    try:
        return Row(number, msgspec.json.encode(line_of(values)))
    except Exception as error:  # a column of a type that JSON has not
        return Row(number, b"{}", f"the row has no JSON form: {error}")


def _column(dump: Dump, slice_: Slice, column: str) -> Popularity:
    with _parquet(dump, slice_) as file:
        name = dump.files[slice_.file].name
        if column not in file.schema_arrow.names:
            raise SettingsError(f"--popularity {column}: {name} has no such column")
        values = file.read_row_groups(_groups(slice_), columns=[column]).column(0)
    # Arrow would make numbers of texts and booleans, too, which the rows themselves are not read as.
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise SettingsError(f"--popularity {column}: not a column of numbers in {name} ({values.type})")
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.where(np.isnan(numbers), -np.inf, numbers)


# --- JSON lines ---------------------------------------------------------------------------------------------


def _line_slices(dump: Dump, number: int) -> list[Slice]:
    """At line ends after SLICE_BYTES each; a compressed file cannot be cut."""
    file = dump.files[number]
    whole = Slice(number, file.path, 0, -1, 1, 0, 0)
    found: list[Slice] = []
    start, first, last, rows = 0, 1, 0, 0
    for line in _lines(dump, whole):
        if not file.is_zipped and line.start - start >= SLICE_BYTES and rows:
            found.append(Slice(number, file.path, start, line.start, first, last, rows))
            start, first, rows = line.start, line.number, 0
        last = line.number
        rows += bool(line.raw.strip() or not line.raw)
    if rows:
        found.append(Slice(number, file.path, start, -1, first, last, rows))
    return found


def _line_rows(dump: Dump, slice_: Slice) -> Iterator[Row]:
    for line in _lines(dump, slice_):
        if not line.raw:
            yield Row(line.number, b"", f"the line is longer than {LINE_BYTES_MAX // 2**20} MiB")
        elif text := line.raw.strip():
            yield Row(line.number, text)


def _lines(dump: Dump, slice_: Slice) -> Iterator[Line]:
    """The lines of a slice, with their line ends."""
    with closing(_opened(dump, slice_)) as stream:
        left = slice_.stop - slice_.start if slice_.stop >= 0 else None
        number, position = slice_.first, slice_.start
        rest, is_skipping = b"", False
        while block := stream.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left)):
            left = None if left is None else left - len(block)
            *whole, rest = (rest + block).split(b"\n")
            for text in whole:
                yield Line(number, position, b"" if is_skipping else text + b"\n")
                number, position, is_skipping = number + 1, position + len(text) + 1, False
            if len(rest) > LINE_BYTES_MAX:
                position, rest, is_skipping = position + len(rest), b"", True
        if rest or is_skipping:
            yield Line(number, position, b"" if is_skipping else rest)


def _opened(dump: Dump, slice_: Slice) -> Any:
    filesystem = dump.filesystem()
    if dump.files[slice_.file].is_zipped:
        return filesystem.open_input_stream(slice_.path)
    stream = filesystem.open_input_file(slice_.path)
    stream.seek(slice_.start)
    return stream
