"""Text in ranges: the same rows however a file is cut, every line accounted for, line numbers as an editor shows them."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_specs import ColonnadeError, TextTable
from preprocessing.sources import tables, text
from preprocessing.sources.streams import InputFile

CELL = st.text(alphabet='abé ,;|\t"\n\x00', max_size=5)
LINE = st.text(alphabet='a,"\n\r\x00', max_size=12)
NO_PATCHES = [HealthCheck.function_scoped_fixture]


def _file(path: Path, content: bytes) -> InputFile:
    path.write_bytes(content)
    return InputFile(str(path), len(content))


def _read(table: TextTable, file: InputFile, wanted: list[str]) -> tuple[list[list[bytes]], list[str], list[tuple[int | None, str]]]:
    """Returns rows, reasons of ragged lines and their places, over all ranges."""
    rows, reasons, places = [], [], []
    for part in tables.plan(table, [file]):
        parsed = tables.read(part, wanted)
        rows += [list(row.values()) for row in parsed.table.to_pylist()]
        reasons += [parsed.ragged[number] for number in sorted(parsed.ragged)]
        places += list(parsed.locate(sorted(parsed.ragged)))
    return rows, reasons, places


@settings(max_examples=150, deadline=None, suppress_health_check=NO_PATCHES)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12), range_bytes=st.integers(1, 60))
def test_quoted_rows_equal_pythons_csv(
    rows: list[tuple[str, str]], range_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("x", "y"), *rows])
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    received, reasons, _ = _read(TextTable(), _file(tmp_path / "a.csv", buffer.getvalue().encode()), ["x", "y"])
    assert received == [[cell.encode() for cell in row] for row in rows]
    assert reasons == []


@settings(max_examples=200, deadline=None, suppress_health_check=NO_PATCHES)
@given(lines=st.lists(LINE, max_size=8), range_bytes=st.integers(1, 40), quoting=st.booleans())
def test_no_line_is_lost_or_invented_whatever_the_bytes(
    lines: list[str], range_bytes: int, quoting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "x,y\n" + "\n".join(lines)
    file = _file(tmp_path / "a.csv", content.encode())
    table = TextTable(quoting=quoting)
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    rows, reasons, places = _read(table, file, ["y", "x"])
    assert len(places) == len(reasons)
    assert [text for _, text in places if "\n" in text] == []
    if not quoting:
        expected = [line.split(",") for line in "\n".join(lines).replace("\r", "\n").split("\n") if line]
        assert rows == [[y.encode(), x.encode()] for x, y in (cells for cells in expected if len(cells) == 2)]
        assert len(reasons) == sum(len(cells) != 2 for cells in expected)


@pytest.mark.parametrize("range_bytes", [1, 7, 13, 1000])
def test_line_numbers_and_text_of_ragged_rows(range_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'a,b,c\n1,2,3\n\n4,5\n6,"x\ny",8\r\n\r\n9,9,9,9\n7,\xff,"q""q"\nlast,1'
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    rows, reasons, places = _read(TextTable(), _file(tmp_path / "a.csv", content), ["a", "b"])
    assert rows == [[b"1", b"2"], [b"6", b"x\ny"], [b"7", b"\xff"]]
    assert reasons == [f"expected 3 values, received {received}" for received in (2, 4, 2)]
    assert places == [(4, "4,5"), (8, "9,9,9,9"), (10, "last,1")]


STRAY = [b'b,"open', b'c,in"side,3', b'd,"tail"s,4', b'"', b'"\xff,3,4', b"e,\xff"]


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("range_bytes", [7, 1000])
def test_a_stray_quote_or_broken_utf8_costs_its_own_line_only(
    stray: bytes, range_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", range_bytes)
    lines = [b"%d,\xe9,x" % i for i in range(9)]
    content = b"\n".join([b"a,b,c", *lines[:4], stray, b"", *lines[4:], b""])
    rows, reasons, places = _read(TextTable(), _file(tmp_path / "a.csv", content), ["a"])
    kept = [row[0] for row in rows if row[0].isdigit()]
    assert kept == [b"%d" % i for i in range(9)]
    assert len(rows) + len(reasons) == 10
    assert places in ([], [(6, stray.decode(errors="replace"))])


def test_a_quote_that_never_closes_ends_its_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 100)
    monkeypatch.setattr(text, "_LONGEST_QUOTE_BYTES", 50)
    file = _file(tmp_path / "a.csv", b'x,y\n1,"2\n' + b"3,4\n" * 500)
    assert max(part.size for part in tables.plan(TextTable(), [file])) < 200
    rows, reasons, places = _read(TextTable(), file, ["x"])
    assert (len(rows), len(reasons), places) == (500, 1, [(2, '1,"2')])


def test_ranges_are_bounded_and_cover_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"x\n" + b"".join(b"%d\n" % i for i in range(1000))
    monkeypatch.setattr(text, "RANGE_BYTES", 100)
    ranges = tables.plan(TextTable(), [_file(tmp_path / "a.csv", content)])
    assert ranges[0].begin == 2
    assert [part.end for part in ranges[:-1]] == [part.begin for part in ranges[1:]]
    assert ranges[-1].end == len(content)
    assert max(part.size for part in ranges) <= 100 + 4


def test_header_variants(tmp_path: Path) -> None:
    plain = _file(tmp_path / "a.csv", b'\xef\xbb\xbfid,"first, last"\r\n1,2\r\n')
    assert tables.plan(TextTable(), [plain])[0].columns == ("id", "first, last")
    renamed = TextTable(columns=("p", "q"))
    assert _read(renamed, plain, ["q"])[0] == [[b"2"]]
    headless = TextTable(header=False, columns=("p", "q"), delimiter=";")
    assert _read(headless, _file(tmp_path / "b.csv", b"1;2\n"), ["p", "q"])[0] == [[b"1", b"2"]]


def test_a_compressed_file_is_one_range(tmp_path: Path) -> None:
    packed = _file(tmp_path / "a.csv.gz", gzip.compress(b"x,y\n1,2\n3\n"))
    assert _read(TextTable(), packed, ["y"]) == ([[b"2"]], ["expected 2 values, received 1"], [(3, "3")])
    broken = _file(tmp_path / "b.csv.gz", gzip.compress(b"x,y\n" + bytes(range(256)) * 99)[:-20])
    with pytest.raises(ColonnadeError, match=r"Cannot decompress '.*b\.csv\.gz'"):
        _read(TextTable(), broken, ["y"])


def test_errors_name_the_file_and_the_fix(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.csv", b"x,y\n1,2\n")
    with pytest.raises(ColonnadeError, match=r"has 2 columns in its header, the spec names 1: x\. Correct `columns` or `delimiter`"):
        tables.plan(TextTable(columns=("x",)), [file])
    with pytest.raises(ColonnadeError, match=r"'a\.csv' has no header: name its `columns` in the spec"):
        tables.plan(TextTable(header=False), [file])
    with pytest.raises(ColonnadeError, match=r"several columns of the same name: 'x'\. Rename them"):
        tables.plan(TextTable(), [_file(tmp_path / "b.csv", b"x,y,x\n1,2,3\n")])
    with pytest.raises(ColonnadeError, match=r"'.*mac\.csv' cannot be read as text: its first line is no header.* lines end with LF"):
        tables.plan(TextTable(), [_file(tmp_path / "mac.csv", b"x,y\r1,2\r")])
    with pytest.raises(ColonnadeError, match=r"Cannot read '.*gone\.csv'"):
        tables.plan(TextTable(), [InputFile(str(tmp_path / "gone.csv"), 5)])


def test_delimiters_of_several_characters_and_of_several_bytes(tmp_path: Path) -> None:
    columns = ("id", "title", "genre")
    table = TextTable(delimiter="::", header=False, columns=columns)
    spare = bytes([*range(1, 9), *range(14, 32)])
    for odd in (b"", b"\x01\x1f", spare):
        content = b"1::a:b" + odd + b'::"x\n2::::\n3::y\n4:::c::d\n'
        rows, reasons, places = _read(table, _file(tmp_path / "a.dat", content), list(columns))
        assert rows == [[b"1", b"a:b" + odd, b'"x'], [b"2", b"", b""], [b"4", b":c", b"d"]]
        assert (reasons, places) == (["expected 3 values, received 2"], [(3, "3::y")])
    quoted = _file(tmp_path / "b.csv", 'a¦b\n"1¦2"¦3\n4¦5\n'.encode())
    assert _read(TextTable(delimiter="¦"), quoted, ["a", "b"])[0] == [["1¦2".encode(), b"3"], [b"4", b"5"]]
    with pytest.raises(ColonnadeError, match=r"delimiter should be other characters than a quote or a line end\. Received: '\"'"):
        tables.plan(TextTable(delimiter='"'), [quoted])


def test_latin_1(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.csv", "naïve,y\né,2\nü,3,4\n".encode("latin-1"))
    table = TextTable(encoding="latin-1")
    assert _read(table, file, ["naïve"]) == ([["é".encode()]], ["expected 2 values, received 3"], [(3, "ü,3,4")])


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_ragged_rows_of_a_long_range_keep_their_line(quote: bytes, tmp_path: Path) -> None:
    lines = [b"%d,%sx%s" % (i, quote, quote) for i in range(300_000)]
    lines[150_000] = lines[299_990] = b"ragged"
    rows, _, places = _read(TextTable(), _file(tmp_path / "a.csv", b"a,b\n" + b"\n".join(lines)), ["a"])
    assert len(rows) == 299_998
    assert [line for line, _ in places] == [150_002, 299_992]


@pytest.mark.parametrize("quoting", [True, False])
def test_a_giant_value_is_set_aside(quoting: bool, tmp_path: Path) -> None:
    giant = b"z" * (10 << 20)
    for row in (b"2," + giant, b'2,"' + giant + b'"', giant):
        file = _file(tmp_path / "a.csv", b"a,b\n1,x\n" + row + b"\n3,y\n")
        rows, reasons, places = _read(TextTable(quoting=quoting), file, ["a", "b"])
        assert rows == [[b"1", b"x"], [b"3", b"y"]]
        assert len(reasons) == 1
        assert "column 'b': a value of 10,4" in reasons[0] or reasons[0] == "expected 2 values, received 1"
        assert places[0][0] == 3
        assert len(places[0][1]) < 600


def test_single_rows_between_two_stray_quotes_are_rows(tmp_path: Path) -> None:
    lines = [b"%d,x,y" % i for i in range(9)]
    lines[2], lines[5] = b'2,"x,y', b'5,x",y'
    rows, reasons, places = _read(TextTable(), _file(tmp_path / "a.csv", b"a,b,c\n" + b"\n".join(lines)), ["a", "b"])
    assert [row[0] for row in rows] == [b"0", b"1", b"3", b"4", b"5", b"6", b"7", b"8"]
    assert (reasons, places) == (["broken quotes: a quote is not closed"], [(4, '2,"x,y')])
    # Where values do have line ends, one that looks like rows is still a value.
    prose = [b'%d,"one\ntwo, three",y' % i for i in range(9)]
    prose[4] = b'4,"x,y\n5,x,y\n6,x",y'
    rows, reasons, _ = _read(TextTable(), _file(tmp_path / "b.csv", b"a,b,c\n" + b"\n".join(prose)), ["a", "b"])
    assert (len(rows), rows[4], reasons) == (9, [b"4", b"x,y\n5,x,y\n6,x"], [])


def test_an_odd_range_keeps_its_values_with_line_ends(tmp_path: Path) -> None:
    content = b'a,b\n1,"p\nq"\n2,"open\n3,"r\n\ns"\n4,t\n'
    rows, reasons, places = _read(TextTable(), _file(tmp_path / "a.csv", content), ["a", "b"])
    assert rows == [[b"1", b"p\nq"], [b"3", b"r\n\ns"], [b"4", b"t"]]
    assert (reasons, places) == (["broken quotes: a quote is not closed"], [(4, '2,"open')])


def test_cuts_behind_a_stray_quote_do_not_tear_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "RANGE_BYTES", 300)
    content = b'a,b,c\n0,"stray,x\n' + b"".join(b'%d,"p\nq",x\n' % i for i in range(1, 200))
    rows, reasons, _ = _read(TextTable(), _file(tmp_path / "a.csv", content), ["a", "b"])
    assert rows == [[str(i).encode(), b"p\nq"] for i in range(1, 200)]
    assert len(reasons) == 1
