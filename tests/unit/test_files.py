"""Reading files: by bytes, whole, bounded, and with every line counted."""

from __future__ import annotations

import gzip
import os

import pytest

from elkkit.errors import InputError
from elkkit.stack.files import read_lines


def rows(path, **options):
    return [(line.number, line.offset, line.data, line.ended, line.cut) for line in read_lines(path, **options)]


def test_lines_with_offsets(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"a\r\n\n\xff\x00b\nlast")
    assert rows(path) == [
        (1, 0, b"a\r", True, False),
        (2, 3, b"", True, False),
        (3, 4, b"\xff\x00b", True, False),
        (4, 8, b"last", False, False),
    ]


def test_gzip_is_known_by_its_content(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert [r[2] for r in rows(path)] == [b"a", b"b"]


def test_a_cut_gzip_file_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "x.log.gz"
    path.write_bytes(gzip.compress(b"b\n" * 10_000 + os.urandom(50_000).hex().encode())[:-500])
    read = []
    with pytest.raises(InputError, match="cannot read all of") as caught:
        read.extend(read_lines(path))
    assert read
    assert caught.value.hint


def test_long_lines_are_cut_and_counted(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"a" * 25 + b"\nb\n" + b"c" * 10 + b"\n" + b"d" * 99)
    assert rows(path, max_line=10) == [
        (1, 0, b"a" * 10, True, True),
        (2, 26, b"b", True, False),
        (3, 28, b"c" * 10, True, False),
        (4, 39, b"d" * 10, False, True),
    ]


def test_what_cannot_be_read(tmp_path):
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(InputError) as caught:
            list(read_lines(path))
        assert caught.value.why == why
        assert caught.value.hint


def test_empty(tmp_path):
    path = tmp_path / "x.log"
    path.touch()
    assert rows(path) == []
