from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastload.errors import IngestError
from fastload.ingest import segments
from fastload.ingest.segments import TextFile

CELL = st.text(st.sampled_from('ab,"\n 1é'), max_size=5)


def pieces(path, *, has_header=True, encoding="utf-8"):
    return [bytes(segment.data) for segment in TextFile(path, encoding, ",").segments(has_header=has_header)]


def records(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=30),
    size=st.integers(1, 64),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
    zipped=st.booleans(),
)
def test_pieces_are_whole_records_and_lose_nothing(tmp_path, rows, size, encoding, zipped):
    """Against Python's own parser: cut anywhere, the pieces parse to all records in order."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([["x", "y"], *rows])
    data = file.getvalue().encode(encoding)
    path = tmp_path / ("t.csv.gz" if zipped else "t.csv")
    path.write_bytes(gzip.compress(data) if zipped else data)
    before, segments.SEGMENT_BYTES = segments.SEGMENT_BYTES, size
    try:
        parts = [part.decode() for part in pieces(path, encoding=encoding)]
    finally:
        segments.SEGMENT_BYTES = before
    assert [record for part in parts for record in records(part)] == records(file.getvalue())[1:]


def test_lines_and_offsets(tmp_path, monkeypatch):
    """Blank lines and lines in quotes count; with a segment of its own for nearly every record."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 8)
    path = tmp_path / "t.csv"
    path.write_text('\na,b\n1,2\n\n"x\ny",3\n4,5\n')
    file = TextFile(path, "utf-8", ",")
    found = []
    for segment in file.segments(has_header=True):
        count = sum(bool(record) for record in records(bytes(segment.data).decode()))
        found += [file.line_of(segment, index) for index in range(count)]
    assert found == [3, 6, 7]


def test_a_record_may_be_longer_than_a_segment_but_not_endless(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 16)
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n" + "x" * 1000 + "\n2\n")
    assert b"".join(pieces(path)) == b"1\n" + b"x" * 1000 + b"\n2\n"
    monkeypatch.setattr(segments, "MAX_RECORD_BYTES", 500)
    with pytest.raises(IngestError, match="the one that begins in line 3 does not"):
        pieces(path)


def test_the_last_record_needs_no_newline(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,4")
    for size in range(1, 14):
        monkeypatch.setattr(segments, "SEGMENT_BYTES", size)
        assert b"".join(pieces(path)) == b"1,2\n3,4"


def test_without_a_header_the_first_record_is_data(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf1,2\n3,4\n")
    assert pieces(path, has_header=False) == [b"1,2\n3,4\n"]
