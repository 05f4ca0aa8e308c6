from __future__ import annotations

import gzip
import zipfile

import numpy as np
import pytest

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, IngestError
from fastload.ingest import convert, segments


@pytest.fixture
def csv(tmp_path):
    """Convert text (or bytes) as a CSV file: (values, summary) or the error."""

    def run(content, *, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return convert(path, tmp_path / "t.fl", **options)

    return run


@pytest.fixture
def small_segments(monkeypatch):
    """Many segments in a small file, and a look-ahead of one chunk."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 256)
    monkeypatch.setattr("fastload.ingest.conversion.FIRST_LOOK_BYTES", 1)
    monkeypatch.setattr("fastload.ingest.conversion.EARLY_BYTES", 1)


def stored(summary):
    return {field.name: field.stored for field in summary.fields}


def test_types_are_inferred(csv, read_back, tmp_path):
    summary = csv(
        "n,x,b,day,when,word,id,gap\n"
        "1,1.5,true,2020-01-02,2020-01-02T03:04:05,red,a1,\n"
        "2,2.5,false,1970-01-02,1970-01-01T00:00:01,red,b2,7\n"
    )
    assert stored(summary) == {
        "n": "int64",
        "x": "float64",
        "b": "bool",
        "day": "int32",
        "when": "int64",
        "word": "category",
        "id": "string",
        "gap": "int64",
    }
    assert {f.name: f.source for f in summary.fields if f.name in ("day", "when", "word")} == {
        "day": "date32[day]",
        "when": "timestamp[s]",
        "word": "string",
    }
    assert read_back(tmp_path / "t.fl") == {
        "n": [1, 2],
        "x": [1.5, 2.5],
        "b": [True, False],
        "day": [18263, 1],
        "when": [1577934245, 1],
        "word": ["red", "red"],
        "id": ["a1", "b2"],
        "gap": [None, 7],
    }
    assert {f.name: f.nulls for f in summary.fields if f.nulls} == {"gap": 1}


def test_dtypes_override_what_is_inferred(csv, read_back, tmp_path):
    csv(
        "zip,n,x,c,t,raw\n007,1,1.5,5,2020-01-01,a\n010,2,0.1,5,2020-01-02,b\n",
        dtypes={
            "zip": "string",
            "n": np.int8,
            "x": "float16",
            "c": "category",
            "t": "timestamp[ms]",
            "raw": "bytes",
        },
    )
    schema = Dataset(tmp_path / "t.fl").schema
    assert [(f.name, f.dtype, f.categories) for f in schema] == [
        ("zip", "string", False),
        ("n", "int8", False),
        ("x", "float16", False),
        ("c", "int32", True),
        ("t", "int64", False),
        ("raw", "bytes", False),
    ]
    values = read_back(tmp_path / "t.fl")
    assert values["zip"] == ["007", "010"]
    assert values["t"] == [1577836800000, 1577923200000]
    assert values["c"] == ["5", "5"]
    assert values["raw"] == [b"a", b"b"]


def test_missing_words_quotes_and_own_null_values(csv, read_back, tmp_path):
    csv('a,b\nNA,"NA"\n1,\n2,x\n', dtypes={"b": "string"})
    assert read_back(tmp_path / "t.fl") == {"a": [None, 1, 2], "b": ["NA", None, "x"]}
    csv("a,b\n-999,NA\n1,\n2,x\n", dtypes={"b": "string"}, null_values=["-999"], overwrite=True)
    assert read_back(tmp_path / "t.fl") == {"a": [None, 1, 2], "b": ["NA", None, "x"]}


def test_a_column_without_any_value_is_all_missing(csv, read_back, tmp_path):
    summary = csv("a,b\n1,\n2,\n")
    assert read_back(tmp_path / "t.fl")["b"] == [None, None]
    assert summary.fields[1].source == "null"


@pytest.mark.parametrize("ending", ["gz", "zip"])
def test_compressed_files(tmp_path, read_back, ending):
    path = tmp_path / f"t.csv.{ending}"
    text = b"a,b\n1,x\n2,y\n"
    if ending == "gz":
        path.write_bytes(gzip.compress(text[:6]) + gzip.compress(text[6:]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.csv", text)
    convert(path, tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a;b\n1;x\n", {}),
        ("a\tb\n1\tx\n", {"name": "t.tsv"}),
        ("a|b\n1|x\n", {"delimiter": "|"}),
        ("1,x\n", {"names": ["a", "b"]}),
        ("\ufeffa,b\n1,x\n", {}),
        ("\n\na,b\r\n\r\n1,x\r\n", {}),
        ("a,b\r1,x", {}),
        ("a,b\n1,x".encode("utf-16"), {"encoding": "utf-16"}),
    ],
)
def test_dialects(csv, read_back, tmp_path, content, options):
    csv(content, **options)
    assert read_back(tmp_path / "t.fl") == {"a": [1], "b": ["x"]}


def test_latin_1(csv, read_back, tmp_path):
    csv("a,b\n1,né\n".encode("latin-1"), encoding="latin-1")
    assert read_back(tmp_path / "t.fl")["b"] == ["né"]


def test_nameless_columns_get_a_name(csv, read_back, tmp_path):
    csv(",a\n0,5\n1,6\n")
    assert read_back(tmp_path / "t.fl") == {"column_0": [0, 1], "a": [5, 6]}


def test_many_segments_give_the_same_as_one(csv, read_back, tmp_path, small_segments):
    """Records with quoted newlines, doubled quotes and stray quotes, cut wherever a segment ends."""
    rows = [(i, f'say "{i}"\nand, so' if i % 3 else f'{i}" pipe' if i == 300 else "plain", i / 4) for i in range(400)]

    def quote(text):
        return '"' + text.replace('"', '""') + '"' if "\n" in text else text

    text = "i,t,x\n" + "".join(f"{i},{quote(t)},{x}\n" for i, t, x in rows)
    csv(text, dtypes={"t": "string"})
    values = read_back(tmp_path / "t.fl")
    assert list(zip(values["i"], values["t"], values["x"], strict=True)) == rows


def test_a_folder_and_a_list_of_files(tmp_path, read_back):
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        (folder / f"p{i}.csv").write_text(f"a,b\n{i},{i}.5\n")
    for source in (folder, [folder / f"p{i}.csv" for i in range(3)]):
        convert(source, tmp_path / "t.fl", overwrite=True)
        assert read_back(tmp_path / "t.fl") == {"a": [0, 1, 2], "b": [0.5, 1.5, 2.5]}
    (folder / "p3.csv").write_text("a,c\n1,1\n")
    with pytest.raises(IngestError, match="the same header") as caught:
        convert(folder, tmp_path / "u.fl")
    assert caught.value.path.name == "p3.csv"


# --- what only a later row shows ------------------------------------------------------------------

LATER = "".join(f"{i},{i},w{i % 3},2020-01-01T00:00:00,\n" for i in range(200))


@pytest.mark.parametrize(
    ("row", "field", "value", "dtype", "nullable"),
    [
        (",7,w0,2020-01-01T00:00:00,", "a", None, "int64", True),
        ("1.5,7,w0,2020-01-01T00:00:00,", "a", 1.5, "float64", False),
        ("1,7,,2020-01-01T00:00:00,", "w", None, "int32", True),
        ("1,7,w0,2020-01-01T00:00:00.5,", "t", 1577836800500000000, "int64", False),
        ("1,7,w0,2020-01-01T00:00:00,3", "e", 3, "int64", True),
        ("1,7,w0,2020-01-01T00:00:00,word", "e", "word", "int32", True),
    ],
)
def test_a_later_row_widens_the_field(csv, read_back, tmp_path, small_segments, row, field, value, dtype, nullable):
    summary = csv("a,b,w,t,e\n" + LATER + row + "\n")
    values = read_back(tmp_path / "t.fl")
    assert values[field][-1] == value
    assert values["b"] == [*range(200), 7]
    assert values["t"][0] == (1577836800 if field != "t" else 1577836800000000000)
    found = Dataset(tmp_path / "t.fl").schema[field]
    assert (found.dtype, found.nullable) == (dtype, nullable)
    assert summary.rows_read == 201


def test_one_category_too_many_makes_strings(csv, read_back, tmp_path, small_segments):
    text = "w\n" + "".join(f"w{i % 3}\n" for i in range(300)) + "".join(f"new{i}\n" for i in range(20))
    summary = csv(text, max_categories=10)
    assert stored(summary) == {"w": "string"}
    assert read_back(tmp_path / "t.fl")["w"] == text.split()[1:]
    summary = csv(text, max_categories=10, dtypes={"w": "category"}, overwrite=True)
    assert stored(summary) == {"w": "category"}
    assert read_back(tmp_path / "t.fl")["w"] == text.split()[1:]


# --- bad input ------------------------------------------------------------------------------------


def check(caught, row, field):
    assert (caught.value.row, caught.value.field) == (row, field)


def test_ragged_row(csv, tmp_path):
    with pytest.raises(
        IngestError, match=r"every row must have 2 cells; line 3 has 1: '2'; .*on_bad_rows=\"skip\""
    ) as caught:
        csv("a,b\n1,x\n2\n3,y,z\n")
    check(caught, 1, None)
    assert not list(tmp_path.glob("*.fl"))


def test_line_numbers_count_blank_lines_and_quoted_newlines(csv):
    with pytest.raises(IngestError, match="line 7 has 1: 'oops'") as caught:
        csv('a,b\n\n1,"x\ny"\n\n2,z\noops\n')
    check(caught, 2, None)


@pytest.mark.parametrize("rows_before", [0, 500])
def test_text_among_numbers(csv, small_segments, rows_before):
    """In the first segment and in a later one alike: the first numbers decide."""
    text = "a,b\n" + "5,1\n" * max(rows_before, 40) + "6,oops\n" + "5,1\n" * 40
    with pytest.raises(
        IngestError,
        match=r"the column must hold int64 values; line (42|502) ",
    ) as caught:
        csv(text)
    check(caught, max(rows_before, 40), "b")
    for remedy in ("dtypes={'b': 'string'}", "null_values=['oops']", 'on_bad_rows="skip"'):
        assert remedy in str(caught.value)


def test_the_remedies_the_message_names_work(csv, read_back, tmp_path):
    text = "a,b\n" + "5,1\n" * 40 + "6,oops\n"
    assert stored(csv(text, dtypes={"b": "string"}))["b"] == "string"
    csv(text, null_values=["oops"], overwrite=True)
    assert read_back(tmp_path / "t.fl")["b"][-1] is None
    summary = csv(text, on_bad_rows="skip", overwrite=True)
    assert (summary.rows_read, summary.rows_written, summary.rows_refused) == (41, {"all": 40}, 1)
    assert set(read_back(tmp_path / "t.fl")["b"]) == {1}


def test_a_column_of_mixed_words_is_text(csv, tmp_path):
    """Codes like N12 beside 12: less than 95 % numbers is text."""
    assert stored(csv("a\n12\nN12\n13\nx\n"))["a"] == "string"


def test_override_that_a_value_does_not_fit(csv):
    with pytest.raises(
        IngestError,
        match=r"must hold int64 values; line 3 has '1.5'; widen it with dtypes=\{'a': 'float64'\}",
    ) as caught:
        csv("a\n1\n1.5\n", dtypes={"a": "int64"})
    check(caught, 1, "a")
    with pytest.raises(IngestError, match="must hold int8 values; line 2 has '300'"):
        csv("a\n300\n", dtypes={"a": "int8"})
    with pytest.raises(IngestError, match="must hold timestamp"):
        csv("a\n2020-01-01\nyesterday\n", dtypes={"a": "timestamp"})


def test_nan_as_an_integer_label(csv):
    """NaN is a missing value in a CSV, so an integer label stays an integer and becomes nullable."""
    summary = csv("y\n1\nNaN\n", dtypes={"y": "int64"})
    assert (summary.fields[0].stored, summary.fields[0].nulls) == ("int64", 1)


def test_bad_encoding(csv, small_segments):
    text = b"a,b\n" + b"1,x\n" * 200 + b"2,caf\xe9\n"
    with pytest.raises(
        IngestError, match=r"text must be UTF-8; line 202 has b'caf\\xe9'; .*encoding='latin-1'"
    ) as caught:
        csv(text)
    check(caught, 200, "b")
    with pytest.raises(IngestError, match="text must be UTF-8; line 2 has"):
        csv(b"a,b\n1,caf\xe9\n")
    with pytest.raises(IngestError, match="text must be utf-16"):
        csv(b"a,b\n1,x\n\xd8", encoding="utf-16-le")
    with pytest.raises(ArgumentError, match="encoding must be one"):
        csv("a\n1\n", encoding="klingon")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", "must hold at least one row; it has none"),
        ("a,b,a\n1,2,3\n", "column names must be unique"),
        ('a,b\n1,"x\n2,y\n', "a quoted value must be closed; one begins in line 2"),
    ],
)
def test_files_that_are_no_table(csv, tmp_path, content, message):
    with pytest.raises(IngestError, match=message) as caught:
        csv(content)
    assert caught.value.path == tmp_path / "t.csv"
    assert not list(tmp_path.glob("*.fl"))


def test_skipped_rows_are_counted_with_reasons_and_examples(csv, read_back, tmp_path, small_segments):
    good = [f"{i},{i}.5,w{i % 2}" for i in range(300)]
    lines = list(good)
    lines[250] = "250,oops,w0"
    lines[251] = "251"
    lines[20] = "20,1.5,w0,extra"
    lines[299] = "x,y,z"
    summary = csv("a,b,c\n" + "\n".join(lines) + "\n", on_bad_rows="skip", dtypes={"a": "int64", "b": "float64"})
    assert (summary.rows_read, summary.rows_written["all"], summary.rows_refused) == (300, 296, 4)
    told = {r.reason: (r.num_rows, r.examples) for r in summary.refusals}
    assert told == {
        "a row must have 3 cells": (2, [(20, "4 cells: 20,1.5,w0,extra"), (251, "1 cells: 251")]),
        "column 'b' must hold double values": (1, [(250, "'oops'")]),
        "column 'a' must hold int64 values": (1, [(299, "'x'")]),
    }
    assert read_back(tmp_path / "t.fl")["a"] == [i for i in range(300) if i not in (20, 250, 251, 299)]
    assert "refused 2: a row must have 3 cells" in str(summary)


def test_all_rows_refused_is_an_error(csv, tmp_path):
    with pytest.raises(IngestError, match="all 2 rows were refused; column 'a' must hold int64 values, row 0: 'x'"):
        csv("a\nx\ny\n", dtypes={"a": "int64"}, on_bad_rows="skip")
    assert not list(tmp_path.glob("*.fl"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "::"}, "one ASCII character"),
        ({"on_bad_rows": "warn"}, '"raise" or "skip"'),
        ({"dtypes": {"a": "complex128"}}, r"dtypes\['a'\] must be one of"),
        ({"max_categories": -1}, "max_categories"),
        ({"columns": "a"}, "a list of names"),
        ({"split_key": "a"}, "no meaning without split"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_arguments_are_checked(csv, options, message):
    with pytest.raises(ArgumentError, match=message):
        csv("a\n1\n", **options)


@pytest.mark.parametrize(
    "options", [{"columns": ["flihgt"]}, {"dtypes": {"flihgt": "int8"}}, {"pack": {"x": ["flihgt"]}}]
)
def test_unknown_columns_are_named(csv, options):
    with pytest.raises(
        IngestError, match=r"must name columns of the source; did you mean 'flight'\? it has flight, y"
    ) as caught:
        csv("flight,y\n1,2\n", **options)
    assert caught.value.field == "flihgt"


def test_broken_archives(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-12])
    with pytest.raises(IngestError, match="the file must be whole"):
        convert(path, tmp_path / "t.fl")
    path.write_bytes(b"no gzip at all")
    with pytest.raises(IngestError, match="the file must be whole"):
        convert(path, tmp_path / "t.fl")
    path = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(IngestError, match=r"a zip must hold one file; found 2: a\.csv, b\.csv"):
        convert(path, tmp_path / "t.fl")
    path.write_bytes(b"PK no zip")
    with pytest.raises(IngestError, match="the file must be readable"):
        convert(path, tmp_path / "t.fl")


def test_integers_beyond_64_bits_are_noted(csv):
    summary = csv("id\n99999999999999999999\n1\n")
    assert "dtypes={'id': 'string'} keeps every digit" in summary.notes[0]


def test_text_that_is_mostly_numbers_but_each_reads(csv, read_back, tmp_path):
    """Numbers with spaces around them and in quotes are numbers."""
    csv('a,b\n 1 ,"2"\n3,"4"\n')
    assert read_back(tmp_path / "t.fl") == {"a": [1, 3], "b": [2, 4]}
