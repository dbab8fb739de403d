"""Following files: every line exactly once, whatever happens to the file. Real files, a real writer, no mocks."""

from __future__ import annotations

import gzip
import logging
import logging.handlers
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elkkit.errors import ElkkitError, InputError
from elkkit.stack.follow import Follower
from elkkit.stack.growing import FollowedLine, last_lines, siblings

DEADLINE = 60.0


class Watched:
    """A follower whose lines are collected by looking until something is there."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.lines: list[FollowedLine] = []
        self.notices: list[str] = []
        self._rounds: Iterator[FollowedLine | None] = follower.lines()

    @property
    def texts(self) -> list[bytes]:
        return [line.data for line in self.lines]

    def round(self) -> None:
        for line in self._rounds:
            if line is None:
                return
            self.lines.append(line)

    def rounds(self, count: int = 3) -> None:
        for _ in range(count):
            self.round()

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE
        while not done():
            assert time.monotonic() < end, (self.texts[-5:], self.notices)
            self.round()

    def until_text(self, text: bytes) -> None:
        self.until(lambda: text in self.texts)

    def stop(self) -> None:
        self.follower.stop()
        self.lines += [line for line in self._rounds if line is not None]


@contextmanager
def following(*names: Path | str, **options: object) -> Iterator[Watched]:
    notices: list[str] = []
    given = {"interval": 0.01, "notice": notices.append, **options}
    with Follower([str(n) for n in names], **given) as follower:  # type: ignore[arg-type]
        watched = Watched(follower)
        watched.notices = notices
        yield watched


def descriptors() -> list[Path]:
    return [f for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


# --- the plain case ---------------------------------------------------------------------------------------------------


def test_lines_carry_file_inode_and_offset(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo\r\n\n")
    with following(log) as seen:
        seen.round()
        append(log, b"three\n")
        seen.until_text(b"three")
    inode = log.stat().st_ino
    assert [(line.offset, line.data) for line in seen.lines] == [(0, b"one"), (4, b"two\r"), (9, b""), (10, b"three")]
    assert {(line.file, line.inode, line.device) for line in seen.lines} == {(str(log), inode, log.stat().st_dev)}
    assert all(line.ended and not line.cut and line.generation == 0 for line in seen.lines)


@pytest.mark.parametrize(
    ("content", "count", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc", 0, b"c"),
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 3, b""),
        (b"no line feed at all", 1, b"no line feed at all"),
        (b"x" * 200_000 + b"\n" + b"y" * 100_000 + b"\nz\n", 2, b"y" * 100_000 + b"\nz\n"),
        (b"".join(b"%d\n" % i for i in range(100_000)), 50_000, b"".join(b"%d\n" % i for i in range(50_000, 100_000))),
    ],
)
def test_last_lines_begin_at_a_line(tmp_path: Path, content: bytes, count: int, expected: bytes) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(content)
    with log.open("rb") as file:
        assert content[last_lines(file.fileno(), count) :] == expected


def test_a_line_is_held_back_until_its_line_feed(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"IoU : 0.83")
    with following(log, last=0) as seen:
        seen.rounds()
        assert seen.texts == []
        append(log, b"12\nIoU : 0.9")
        seen.until_text(b"IoU : 0.8312")
        seen.stop()
    assert [(line.data, line.ended, line.offset) for line in seen.lines] == [
        (b"IoU : 0.8312", True, 0),
        (b"IoU : 0.9", False, 13),
    ]


def test_a_long_line_is_cut_and_its_end_is_found(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"a" * 1_000_000 + b"\n" + b"b" * 1000 + b"\n" + b"c" * 1001)
    with following(log, max_line=1000) as seen:
        seen.until(lambda: len(seen.lines) == 2)
        append(log, b"c" * 600_000)
        seen.rounds(5)
        append(log, b"\nshort\n")
        seen.until_text(b"short")
    assert [(len(line.data), line.cut, line.offset) for line in seen.lines] == [
        (1000, True, 0),
        (1000, False, 1_000_001),
        (1000, True, 1_001_002),
        (5, False, 1_602_004),
    ]


def test_not_following_reads_to_the_end(tmp_path: Path) -> None:
    log, missing = tmp_path / "a.log", tmp_path / "b.log"
    log.write_bytes(b"one\ntwo\nthr")
    with following(log, missing, tmp_path, following=False, last=2) as seen:
        assert [(line.data, line.ended) for line in filter(None, seen.follower.lines())] == [
            (b"two", True),
            (b"thr", False),
        ]
        assert [e.message for e in seen.follower.failed] == [f"cannot read {missing}", f"cannot read {tmp_path}"]
    assert all(isinstance(e, InputError) for e in seen.follower.failed)


def test_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\n")
    with pytest.raises(InputError, match="Is a directory"), following(tmp_path / "a.log", tmp_path):
        pass


def test_several_files_take_turns(tmp_path: Path) -> None:
    big, small = tmp_path / "big.log", tmp_path / "small.log"
    big.write_bytes(b"x" * 99 * 1024 + b"\n")
    append(big, b"IoU : 0.5\n" * 300_000)
    small.write_bytes(b"small\n")
    with following(big, small) as seen:
        seen.round()
        assert seen.texts[-1] == b"small"
        assert len(seen.lines) < 100_000


def test_one_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    log, link = tmp_path / "a.log", tmp_path / "link.log"
    log.write_bytes(b"one\n")
    link.symlink_to(log)
    with following(log, link) as seen:
        seen.rounds()
        append(log, b"two\n")
        seen.until_text(b"two")
        seen.rounds()
    assert seen.texts == [b"one", b"two"]
    assert seen.notices == [f"{link} is a second name of a file that is read already"]


# --- rotation by rename -----------------------------------------------------------------------------------------------


def rotate(log: Path, count: int) -> None:
    for i in range(count, 0, -1):
        older = log.with_name(f"{log.name}.{i}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{i + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


def test_rename_finishes_the_old_file_first(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    with following(log) as seen:
        seen.round()
        append(log, b"two\n")
        rotate(log, 1)
        log.write_bytes(b"three\n")
        seen.until_text(b"three")
        append(tmp_path / "a.log.1", b"late\n")  # its writer has not noticed yet
        append(log, b"four\n")
        seen.until_text(b"late")
        seen.until_text(b"four")
    assert seen.texts[:3] == [b"one", b"two", b"three"]
    assert sorted(seen.texts[3:]) == [b"four", b"late"]
    assert seen.lines[1].inode == (tmp_path / "a.log.1").stat().st_ino
    assert seen.notices == [f"{log} was rotated; going on with the new file"]


def test_several_rotations_between_two_looks(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    (tmp_path / "a.log.1").write_bytes(b"before we came\n")
    (tmp_path / "a.log.bak").write_bytes(b"none of ours\n")
    log.write_bytes(b"0\n")
    with following(log) as seen:
        seen.rounds()
        for i in range(1, 6):
            append(log, b"end of %d\n" % (i - 1))
            rotate(log, i + 1)
            log.write_bytes(b"%d\n" % i)
        seen.until_text(b"5")
        seen.rounds()
    assert sorted(seen.texts) == sorted([b"%d" % i for i in range(6)] + [b"end of %d" % i for i in range(5)])
    assert seen.texts[:2] == [b"0", b"end of 0"]


def test_an_unfinished_line_of_a_rotated_file_is_given_up(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\nIoU : 0.8")
    with following(log, linger=0.05) as seen:
        seen.until_text(b"one")
        rotate(log, 1)
        log.write_bytes(b"two\n")
        seen.until_text(b"IoU : 0.8")
    assert [(line.data, line.ended) for line in seen.lines] == [
        (b"one", True),
        (b"two", True),
        (b"IoU : 0.8", False),
    ]


def test_many_rotations_under_a_writer_lose_and_repeat_nothing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    total = 20_000
    handler = logging.handlers.RotatingFileHandler(log, maxBytes=20_000, backupCount=1000)
    handler.setFormatter(logging.Formatter("%(message)s"))
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for i in range(total):
                handler.emit(logging.makeLogRecord({"msg": f"IoU : 0.{i:08d}"}))
                if i % 500 == 0:
                    time.sleep(0.002)
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    with following(log, interval=0.02) as seen:
        writer.start()
        seen.until(lambda: not writer.is_alive() and len(seen.lines) >= total)
        seen.rounds()
        seen.stop()
    writer.join()
    handler.close()
    assert not failed
    assert len(list(tmp_path.iterdir())) > 10
    assert sorted(seen.texts) == [b"IoU : 0.%08d" % i for i in range(total)]
    assert len({(line.inode, line.offset, line.data) for line in seen.lines}) == total


def test_followed_by_their_rotated_names_too_each_line_comes_once(tmp_path: Path) -> None:
    log, older = tmp_path / "a.log", tmp_path / "a.log.1"
    older.write_bytes(b"old\n")
    log.write_bytes(b"one\n")
    with following(log, older, linger=0.02) as seen:
        seen.rounds()
        rotate(log, 2)
        log.write_bytes(b"two\n")
        seen.until_text(b"two")
        time.sleep(0.05)
        seen.rounds(5)
        append(older, b"late\n")
        seen.until_text(b"late")
    assert sorted(seen.texts) == [b"late", b"old", b"one", b"two"]


def test_names_of_rotated_files(tmp_path: Path) -> None:
    names = ["lane-1.log.1", "lane-1.log.20261122-101112", "lane-1.log-20261122", "lane-1-20261122.log",
             "lane-1-2026-11-22T10-11-12.000.log", "lane-1.log", "lane-12.log", "lane-1-2.log", "lane-1.log.bak",
             "lane-1.log.1.gz", "lane-2-20261122.log"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    found = {Path(p).name for p in siblings(str(tmp_path / "lane-1.log"))}
    assert found == set(names[:5])


# --- truncation -------------------------------------------------------------------------------------------------------


def test_copytruncate(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"IoU : 0.1\nIoU : 0.2\nIoU : 0.3\n")
    with following(log) as seen:
        seen.rounds()
        shutil.copy(log, tmp_path / "a.log.1")
        os.truncate(log, 0)
        append(log, b"IoU : 0.1\n")
        seen.until(lambda: len(seen.lines) == 4)
        seen.rounds()
    assert [(line.offset, line.generation) for line in seen.lines] == [(0, 0), (10, 0), (20, 0), (0, 1)]
    assert seen.notices == [f"{log} was truncated; reading it from its start"]


def test_what_copytruncate_took_away_unread_is_read_from_the_copy(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntw")
    with following(log) as seen:
        seen.rounds()
        append(log, b"o\nthree\n")
        shutil.copy(log, tmp_path / "a.log.1")
        os.truncate(log, 0)
        append(log, b"four\n")
        seen.until_text(b"four")
        rotate(log, 2)  # and the copy is no file that was missed
        log.write_bytes(b"five\n")
        seen.until_text(b"five")
        seen.rounds()
    assert seen.texts == [b"one", b"two", b"three", b"four", b"five"]
    assert len({line.inode for line in seen.lines[:4]}) == 1


def test_truncated_and_grown_past_the_old_offset(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"".join(b"old %d\n" % i for i in range(1000)))
    with following(log) as seen:
        seen.rounds()
        new = [b"new %d" % i for i in range(2000)]
        os.truncate(log, 0)
        append(log, b"\n".join(new) + b"\n")
        seen.until_text(b"new 1999")
    assert seen.texts[1000:] == new


def test_an_unfinished_line_that_its_writer_takes_back(tmp_path: Path) -> None:
    """As MetricLogger does on a full disk: the rest of the file must not be read again."""
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo\nIoU : 0.")
    with following(log) as seen:
        seen.rounds()
        os.truncate(log, 8)
        seen.rounds()
        append(log, b"IoU : 0.7\n")
        seen.until_text(b"IoU : 0.7")
        os.truncate(log, 8)
        append(log, b"IoU : 0.75\n")  # but what was given out cannot be taken back
        seen.until_text(b"IoU : 0.75")
    assert seen.texts == [b"one", b"two", b"IoU : 0.7", b"one", b"two", b"IoU : 0.75"]


def test_the_hole_of_a_writer_that_does_not_append(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("wb", buffering=0) as writer:
        writer.write(b"x" * 999_999 + b"\n")
        with following(log) as seen:
            seen.until(lambda: len(seen.lines) == 1)
            os.truncate(log, 0)
            seen.rounds()
            writer.write(b"IoU : 0.5\n")
            seen.until(lambda: len(seen.lines) == 2)
    assert (seen.lines[1].data, seen.lines[1].offset) == (b"IoU : 0.5", 1_000_000)


# --- absence ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    log, other = tmp_path / "new" / "a.log", tmp_path / "b.log"
    other.write_bytes(b"other\n")
    with following(log, other, last=1) as seen:
        seen.until_text(b"other")
        log.parent.mkdir()
        log.write_bytes(b"one\ntwo\n")
        seen.until_text(b"two")
    assert seen.texts == [b"other", b"one", b"two"]
    assert seen.notices == [f"waiting for {log}: No such file or directory", f"{log} has appeared"]


def test_deleted_and_made_again(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\nunfin")
    with following(log, linger=0.02) as seen:
        seen.rounds()
        append(log, b"ished\ncut o")
        log.unlink()
        seen.until_text(b"cut o")  # nobody can write to it any more
        log.write_bytes(b"two\n")
        seen.until_text(b"two")
    assert [(line.data, line.ended) for line in seen.lines] == [
        (b"one", True),
        (b"unfinished", True),
        (b"cut o", False),
        (b"two", True),
    ]


def test_renamed_away_and_back(tmp_path: Path) -> None:
    log, away = tmp_path / "a.log", tmp_path / "away"
    log.write_bytes(b"one\n")
    with following(log) as seen:
        seen.rounds()
        log.rename(away)
        seen.rounds()
        append(away, b"two\n")
        seen.until_text(b"two")
        away.rename(log)
        append(log, b"three\n")
        seen.until_text(b"three")
        seen.rounds()
    assert seen.texts == [b"one", b"two", b"three"]
    assert seen.notices[-1] == f"{log} is back"


def test_unreadable_for_a_while(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    with following(log) as seen:
        seen.rounds()
        rotate(log, 1)
        log.mkdir()
        seen.until(lambda: any("Is a directory" in n for n in seen.notices))
        log.rmdir()
        log.symlink_to(log)
        seen.until(lambda: any("symbolic links" in n for n in seen.notices))
        log.unlink()
        log.write_bytes(b"two\n")
        seen.until_text(b"two")
    assert seen.texts == [b"one", b"two"]


def test_a_descriptor_that_fails_is_opened_again(tmp_path: Path) -> None:
    """As on a network file system whose server was restarted."""
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    with following(log) as seen:
        seen.rounds()
        (fd,) = [int(f.name) for f in descriptors() if f.resolve() == log]
        folder = os.open(tmp_path, os.O_RDONLY)
        os.dup2(folder, fd)  # now reading fails
        os.close(folder)
        append(log, b"two\n")
        seen.until_text(b"two")
    assert seen.texts == [b"one", b"two"]
    assert seen.notices == [f"waiting for {log}: Is a directory", f"{log} is back"]


def test_a_symbolic_link_that_is_switched(tmp_path: Path) -> None:
    """As in /var/log/containers: kubelet rotates the target, and a restart switches the link."""
    pod = tmp_path / "pod"
    pod.mkdir()
    first, second, link = pod / "0.log", pod / "1.log", tmp_path / "lane.log"
    first.write_bytes(b"one\n")
    link.symlink_to(first)
    with following(link) as seen:
        seen.rounds()
        append(first, b"two\n")
        first.rename(pod / "0.log.20261122-100000")
        first.write_bytes(b"three\n")  # comes and goes between two looks
        first.rename(pod / "0.log.20261122-100100")
        first.write_bytes(b"four\n")
        second.write_bytes(b"five\n")
        link.unlink()
        link.symlink_to(second)
        seen.until_text(b"five")
        seen.rounds()
    assert seen.texts == [b"one", b"two", b"three", b"four", b"five"]
    assert {line.file for line in seen.lines} == {str(link)}


def test_replaced_by_a_longer_copy_of_itself(tmp_path: Path) -> None:
    """As rsync does with every synchronisation."""
    log, copy = tmp_path / "a.log", tmp_path / ".a.log.Xyz"
    log.write_bytes(b"".join(b"line %d\n" % i for i in range(500)) + b"line 5")
    with following(log) as seen:
        seen.until_text(b"line 499")
        shutil.copy(log, copy)
        append(copy, b"00\nline 501\n")
        copy.rename(log)
        seen.until_text(b"line 501")
        seen.rounds()
    assert seen.texts == [b"line %d" % i for i in range(502)]


# --- what is no growing file ------------------------------------------------------------------------------------------


def test_gzip_is_read_once(tmp_path: Path) -> None:
    log, zipped = tmp_path / "a.log", tmp_path / "a.log.2.gz"
    log.write_bytes(b"live\n")
    zipped.write_bytes(gzip.compress(b"".join(b"%d\n" % i for i in range(5000)) + b"IoU : 0.5"))
    with following(zipped, log, last=3) as seen:
        seen.until_text(b"IoU : 0.5")
        append(log, b"more\n")
        seen.until_text(b"more")
    assert [line.data for line in seen.lines if line.file == str(zipped)] == [b"4998", b"4999", b"IoU : 0.5"]


def test_a_broken_gzip_file_does_not_stop_the_rest(tmp_path: Path) -> None:
    log, zipped = tmp_path / "a.log", tmp_path / "a.log.2.gz"
    log.write_bytes(b"live\n")
    zipped.write_bytes(gzip.compress(b"one\ntwo\n")[:-8])
    with following(zipped, log, last=3) as seen:
        seen.until_text(b"live")
        failed: list[ElkkitError] = seen.follower.failed
        seen.until(lambda: bool(failed))
        append(log, b"more\n")
        seen.until_text(b"more")
    assert sorted(seen.texts) == [b"live", b"more", b"one", b"two"]
    assert failed[0].message == f"cannot read all of {zipped}"


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with following(pipe) as seen:
        seen.rounds()
        with pipe.open("wb", buffering=0) as writer:
            writer.write(b"one\ntw")
            seen.until_text(b"one")
            writer.write(b"o\nrest")
            seen.until_text(b"two")
        seen.until_text(b"rest")
        assert [line for line in seen.follower.lines() if line] == []
    assert [(line.offset, line.ended) for line in seen.lines] == [(0, True), (4, True), (8, False)]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    before = descriptors()
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    with following(log, tmp_path / "b.log", linger=0.0) as seen:
        for i in range(30):
            append(log, b"x\n")
            rotate(log, 50)
            log.write_bytes(b"%d\n" % i)
            seen.until_text(b"%d" % i)
        assert len(descriptors()) < len(before) + 25
    assert len(descriptors()) == len(before)
