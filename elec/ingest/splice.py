"""Writes Parquet out of new rows and of whole row groups of other files, which are copied without being decoded."""

import struct
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from elec.ingest.footer import Struct, integer, read_struct, structs, write_struct
from elec.ingest.writing import RowGroups, options

_MAGIC = b"PAR1"
_COPY_BYTES = 1 << 22

# Field numbers of parquet-format's FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_ROWS, _GROUPS = 3, 4
_COLUMNS, _BYTES, _GROUP_ROW_COUNT, _GROUP_OFFSET, _COMPRESSED, _ORDINAL = 1, 2, 3, 5, 6, 7
_CHUNK_OFFSET, _CHUNK_META = 2, 3
_PATH, _VALUES, _UNCOMPRESSED, _CHUNK_COMPRESSED = 3, 5, 6, 7
_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE = 9, 10, 11
#: Of a ColumnChunk and a ColumnMetaData: page indexes and Bloom filters, which are elsewhere in the file and are not copied.
_CHUNK_KEPT, _META_DROPPED = (_CHUNK_OFFSET, _CHUNK_META), (14, 15)


class Groups:
    """The row groups of a Parquet file.

    Args:
        stream: The file, open.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        end = stream.seek(0, 2)
        stream.seek(end - 8)
        (size,) = struct.unpack("<I", stream.read(4))
        stream.seek(end - 8 - size)
        self.footer: Struct = read_struct(stream.read(size))
        self._groups: list[Struct] = self.footer[_GROUPS][1][1]

    def __getitem__(self, number: int) -> Struct:
        """The metadata of a row group."""
        return self._groups[number]

    def spelled_out(self, most_bytes: int) -> set[str]:
        """The columns that some row group holds without a dictionary, or in more than so many bytes a value.

        Raises:
            LookupError, TypeError, ValueError: If the footer is damaged.
        """
        found = set()
        for group in self._groups:
            for chunk in group[_COLUMNS][1][1]:
                meta: Struct = chunk[_CHUNK_META][1]
                if _DICTIONARY_PAGE not in meta or meta[_UNCOMPRESSED][1] > most_bytes * meta[_VALUES][1]:
                    found.add(b".".join(meta[_PATH][1][1]).decode())
        return found


class SplicedWriter:
    """Writes a Parquet file.

    Args:
        path: The file.
        schema: Its columns; row groups to be copied have them too, under the same names and physical types.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._stream = path.open("wb")
        self._stream.write(_MAGIC)
        # As bytes: of all row groups of a large file that is a tenth of what they are as structs.
        self._groups: list[bytes] = []
        self._footer = self._encoded(schema.empty_table()).footer
        self._rows = RowGroups(schema)

    def write(self, table: pa.Table) -> None:
        """Adds rows, which are encoded."""
        self.rows += len(table)
        for group in self._rows.add(table):
            self._append(self._encoded(group), 0)

    def copy(self, source: Groups, number: int, fresh: pa.Table | None = None) -> None:
        """Adds a row group of another file.

        Args:
            source: The other file.
            number: Of the row group.
            fresh: Columns with the same rows that take the place of the other file's.
        """
        self._flush()
        self.rows += source[number][_GROUP_ROW_COUNT][1]
        self._append(source, number, None if fresh is None else self._encoded(fresh))

    def close(self) -> None:
        """Writes what is left and completes the file."""
        self._flush()
        self._footer[_ROWS] = integer(self.rows)
        self._footer[_GROUPS] = structs(self._groups)
        content = write_struct(self._footer)
        self._stream.write(content + struct.pack("<I", len(content)) + _MAGIC)
        self._stream.close()

    def _flush(self) -> None:
        if not self._rows.empty:
            self._append(self._encoded(self._rows.rest()), 0)

    def _encoded(self, table: pa.Table) -> Groups:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=max(len(table), 1), **options(table.schema))
        return Groups(pa.BufferReader(sink.getvalue()))

    def _append(self, source: Groups, number: int, fresh: Groups | None = None) -> None:
        """Copies the wanted columns of a row group, and gives them their new offsets."""
        group = source[number]
        names = {name.encode() for name in self.schema.names}
        renewed = {} if fresh is None else {_name(chunk): chunk for chunk in fresh[0][_COLUMNS][1][1]}
        begin = end = self._stream.tell()
        runs: list[tuple[IO[bytes], int, int]] = []
        chunks: list[Struct] = []
        uncompressed = 0
        for held in group[_COLUMNS][1][1]:
            if _name(held) not in names:
                continue
            chunk = renewed.get(_name(held), held)
            stream = source.stream if fresh is None or chunk is held else fresh.stream
            meta: Struct = dict(chunk[_CHUNK_META][1])
            first = min(meta[page][1] for page in (_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE) if meta.get(page, (0, 0))[1] > 0)
            move = end - first
            end += meta[_CHUNK_COMPRESSED][1]
            # What lies together is read at once.
            if runs and runs[-1][0] is stream and runs[-1][2] == first:
                runs[-1] = stream, runs[-1][1], first + meta[_CHUNK_COMPRESSED][1]
            else:
                runs.append((stream, first, first + meta[_CHUNK_COMPRESSED][1]))
            for page in (_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE):
                if meta.get(page, (0, 0))[1] > 0:
                    meta[page] = integer(meta[page][1] + move)
            meta = {field: value for field, value in meta.items() if field not in _META_DROPPED}
            moved = {field: value for field, value in chunk.items() if field in _CHUNK_KEPT}
            moved[_CHUNK_META] = (chunk[_CHUNK_META][0], meta)
            moved[_CHUNK_OFFSET] = integer(chunk[_CHUNK_OFFSET][1] and chunk[_CHUNK_OFFSET][1] + move)
            chunks.append(moved)
            uncompressed += meta[_UNCOMPRESSED][1]
        for run in runs:
            self._copy(*run)
        order = {name: position for position, name in enumerate(self.schema.names)}
        chunks.sort(key=lambda chunk: order[_name(chunk).decode()])
        made: Struct = {
            _COLUMNS: structs(chunks),
            _BYTES: integer(uncompressed),
            _GROUP_ROW_COUNT: group[_GROUP_ROW_COUNT],
            _GROUP_OFFSET: integer(begin),
            _COMPRESSED: integer(end - begin),
        }
        # 16 bits: readers know the order anyway.
        if len(self._groups) < 1 << 15 and _ORDINAL in group:
            made[_ORDINAL] = (group[_ORDINAL][0], len(self._groups))
        self._groups.append(write_struct(made))

    def _copy(self, source: IO[bytes], first: int, end: int) -> None:
        source.seek(first)
        while first < end:
            block = source.read(min(end - first, _COPY_BYTES))
            if not block:
                raise OSError("a row group ends before its last byte")
            self._stream.write(block)
            first += len(block)


def _name(chunk: Struct) -> bytes:
    """The column that a chunk is of."""
    found: bytes = chunk[_CHUNK_META][1][_PATH][1][1][0]
    return found
