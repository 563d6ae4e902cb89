"""Valid files, broken at random: nothing crashes, no row is lost or invented, and what was not touched comes out as it was."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError, FeatureSpec, TextTable
from feature_specs.sources import JsonLinesTable, Table
from preprocessing.examples import from_columns
from preprocessing.sources import tables, text
from preprocessing.sources.streams import InputFile

NAMES = ["id", "number", "word", "tags", "label"]
EXAMPLES = 300
SPEC = FeatureSpec.from_yaml(
    """
name: mutated
features:
- {kind: categorical, name: id, encoding: {type: vocabulary}}
- {kind: numeric, name: number}
- {kind: categorical, name: word, encoding: {type: hash, num_buckets: 9}}
- {kind: multi_valued, name: tags, delimiter: ' ', encoding: {type: hash, num_buckets: 9}}
label: {column: label}
"""
)
BYTES = [b'"', b'"', b",", b"\n", b"\r", b"\r\n", b"\x00", b"\t", b"::", b"\xff", b"\xc3", b'""', b'",', b',"', b"\x1f", b"{", b"[", b"9"]


class Mutation(NamedTuple):
    """What happens to a row: at `place` of 1000 parts of it, `removed` bytes go and `added` come; or the row is repeated."""

    row: int
    place: int
    removed: int
    added: bytes
    repeated: bool


MUTATION = st.builds(
    Mutation, st.integers(0, 99), st.integers(0, 999), st.sampled_from([0, 0, 1, 3]), st.sampled_from([b"", *BYTES]), st.booleans()
)


def _csv(row: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(row)
    return buffer.getvalue().encode()


def _json(row: list[str]) -> bytes:
    values = [row[0], float(row[1]), row[2], row[3].split(" "), int(row[4])]
    return json.dumps(dict(zip(NAMES, values, strict=True)), ensure_ascii=False).encode() + b"\n"


class Format(NamedTuple):
    """A format: its table, what a row looks like, and which characters words may have."""

    table: Table
    header: bytes
    row: Callable[[list[str]], bytes]
    alphabet: str


FORMATS = {
    "csv": Format(TextTable(), b"id,number,word,tags,label\n", _csv, 'aé ,"'),
    "csv with line ends in values": Format(TextTable(), b"id,number,word,tags,label\n", _csv, 'aé ,"\n'),
    "tsv without quoting": Format(
        TextTable(delimiter="\t", quoting=False), "\t".join(NAMES).encode() + b"\n", lambda row: "\t".join(row).encode() + b"\n", 'aé ,"'
    ),
    "two-character delimiter": Format(
        TextTable(delimiter="::", header=False, columns=tuple(NAMES)), b"", lambda row: "::".join(row).encode() + b"\n", 'aé ,"'
    ),
    "json lines": Format(JsonLinesTable(), b"", _json, 'aé ,"\n{'),
}


def _rows(alphabet: str) -> st.SearchStrategy[list[list[str]]]:
    tags = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=3)
    cells = st.tuples(st.integers(0, 999), st.text(alphabet, max_size=5), tags)
    return st.lists(cells, min_size=2, max_size=12).map(
        lambda rows: [[f"id{i}", str(n), word, " ".join(tags), str(i % 2)] for i, (n, word, tags) in enumerate(rows)]
    )


class Read(NamedTuple):
    """Everything that reading a file gives: good rows, the number of rejected ones, and the text of all, in order."""

    rows: list[str]
    rejected: int
    texts: list[str]


def _read(kind: Format, path: Path, content: bytes) -> Read:
    path.write_bytes(kind.header + content)
    parts: list[pa.Table] = []
    rejected, texts = 0, []
    for part in tables.plan(kind.table, [InputFile(str(path), path.stat().st_size)]):
        parsed = tables.read(part, NAMES)
        everything = parsed.table.num_rows + len(parsed.ragged)
        numbers = parsed.numbers().tolist()
        assert len(numbers) == parsed.table.num_rows
        assert sorted([*numbers, *parsed.ragged]) == list(range(everything))
        parts.append(parsed.table)
        rejected += len(parsed.ragged)
        texts += [text for _, text in parsed.locate(range(everything))]
    table = pa.concat_tables(parts).combine_chunks()
    examples, reasons = from_columns(SPEC, {name: table[name].combine_chunks() for name in NAMES})
    assert len(examples) == len(table)
    good = [str(row) for number, row in enumerate(examples.to_pylist()) if number not in reasons]
    return Read(good, rejected + len(reasons), texts)


def _mutated(rows: list[bytes], mutations: list[Mutation]) -> tuple[list[bytes], set[int]]:
    """Returns the rows, and which of them are touched; a row that has lost its line end touches the next one."""
    rows, touched = list(rows), set()
    for mutation in mutations:
        number = mutation.row % len(rows)
        row = rows[number]
        place = mutation.place * len(row) // 1000
        changed = row + row if mutation.repeated else row[:place] + mutation.added + row[place + mutation.removed :]
        if changed != row:
            rows[number] = changed
            touched |= {number} if changed.endswith(b"\n") else {number, number + 1}
    return rows, touched


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_lost_or_invented(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = FORMATS[name]
    counts = {"examples": 0, "untouched": 0, "lost": 0}

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(rows=_rows(kind.alphabet), mutations=st.lists(MUTATION, min_size=1, max_size=4), range_bytes=st.sampled_from([60, 1 << 20]))
    def check(rows: list[list[str]], mutations: list[Mutation], range_bytes: int) -> None:
        monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
        lines = [kind.row(row) for row in rows]
        whole, *others = _read(kind, tmp_path / "rows", b"".join(lines))
        assert others == [0, [line.decode()[:-1] for line in lines]]
        assert len(whole) == len(rows)
        changed, touched = _mutated(lines, mutations)
        content = b"".join(changed)
        try:
            read = _read(kind, tmp_path / "rows", content)
        except ColonnadeError:
            # Where rows name their columns, one has to be left.
            assert kind.table.format == "json_lines"
            assert len(touched) == len(rows)
            return
        assert len(read.rows) + read.rejected == len(read.texts)
        # Every byte is in the text of one row, but for line ends between rows.
        assert _bytes("".join(read.texts)) == _bytes(content.decode(errors="replace"))
        if name not in ("csv", "csv with line ends in values"):
            assert len(read.texts) == sum(bool(line.strip(b" \t") if kind.row is _json else line) for line in _lines(kind, content))
        counts["examples"] += 1
        counts["untouched"] += len(rows) - len(touched - {len(rows)})
        missing = {whole[i] for i in range(len(rows)) if i not in touched} - set(read.rows)
        counts["lost"] += len(missing)
        assert not missing or kind.row is _csv

    check()
    # Only where quotes may protect line ends can stray ones take a row along, and that seldom.
    assert counts["lost"] <= counts["untouched"] * {"csv": 0.001, "csv with line ends in values": 0.03}.get(name, 0)
    assert counts["examples"] > EXAMPLES / 2


def _lines(kind: Format, content: bytes) -> list[bytes]:
    content = content.replace(b"\r\n", b"\n")
    return (content if kind.row is _json else content.replace(b"\r", b"\n")).split(b"\n")


def _bytes(text: str) -> str:
    # What is not UTF-8 is shown as a mark, more or fewer of them where a range begins.
    return "".join(text.replace("\ufffd", "").split())


def test_a_file_of_anything_is_read_or_refused(tmp_path: Path) -> None:
    @settings(max_examples=500, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(content=st.binary(min_size=1, max_size=200), name=st.sampled_from([*FORMATS]))
    def check(content: bytes, name: str) -> None:
        kind: Any = FORMATS[name]
        path = tmp_path / "anything"
        path.write_bytes(content)
        with contextlib.suppress(ColonnadeError):
            for part in tables.plan(kind.table, [InputFile(str(path), len(content))]):
                parsed = tables.read(part, part.columns[:1])
                assert parsed.table.column_names == [part.columns[0]]
                list(parsed.locate(range(parsed.table.num_rows + len(parsed.ragged))))

    check()
