import gzip
import hashlib
import re
from pathlib import Path

import pytest

from ptft.corpus.files import (
    _not_utf8,
    check_file,
    content_hash,
    exists,
    file_format,
    read_bytes,
    read_lines,
    text_lines,
)
from ptft.errors import DataError


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def texts(path):
    return [text for _, text in read_lines(path)]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz", "A.TXT.GZ"])
def test_lines_are_numbered_from_one(tmp_path, name):
    path = tmp_path / name
    content = "one\n\n한국어 🙂\n".encode()
    path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    assert list(read_lines(path)) == [(1, "one"), (2, ""), (3, "한국어 🙂")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_every_system(tmp_path, end, last):
    content = end.join(["one", "", "two"]) + (end if last else "")
    assert texts(write(tmp_path / "a.txt", content.encode())) == ["one", "", "two"]


def test_only_line_ends_end_a_line(tmp_path):
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    assert texts(write(tmp_path / "a.txt", text.encode())) == [text]


def test_byte_order_mark_is_dropped_at_the_start_only(tmp_path):
    assert texts(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")) == ["one", "\ufefftwo"]


def test_surrounding_spaces_stay(tmp_path):
    assert texts(write(tmp_path / "a.txt", b"  one \t\n")) == ["  one \t"]


def test_empty_file_has_no_lines(tmp_path):
    assert texts(write(tmp_path / "a.txt", b"")) == []


def test_line_ends_can_be_kept(tmp_path):
    path = write(tmp_path / "a.csv", b"one\r\ntwo\nthree\rfour")
    assert list(text_lines(path, keep_ends=True)) == ["one\r\n", "two\n", "three\r", "four"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_foreign_encoding_names_file_line_and_byte(tmp_path, name):
    # The good part is longer than one block of the decoder, so that the line must be found, not guessed.
    path = write(tmp_path / name, b"good line\n" * 5000 + "영화".encode("cp949") + b"\n")
    with pytest.raises(DataError, match=rf"{name}:5001: the text is not UTF-8 \(byte 0xbf at character 1\); .*CP949"):
        texts(path)


def test_foreign_byte_after_good_characters(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt:2: .*byte 0xe9 at character 4\)"):
        texts(write(tmp_path / "a.txt", b"one\rcaf\xe9 noir\n"))


def test_encoded_surrogate_is_not_utf8(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt:1: the text is not UTF-8 \(byte 0xed"):
        texts(write(tmp_path / "a.txt", b"\xed\xa0\x80"))


@pytest.mark.parametrize(
    "content",
    [b"text\n\0\0more", "hello".encode("utf-16"), b"\x89PNG\r\n\x1a\x00\x00"],
    ids=["nul", "utf-16", "png"],
)
def test_binary_file(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.txt:\d: (looks like a binary file|the text is not UTF-8)"):
        texts(write(tmp_path / "a.txt", content))


def test_nul_byte_is_told_with_its_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt:3: looks like a binary file \(it holds a NUL byte\)"):
        texts(write(tmp_path / "a.txt", b"one\ntwo\nth\0ree\n"))


def test_missing_file_tells_the_nearest_name(tmp_path):
    write(tmp_path / "reviews.csv", b"")
    write(tmp_path / "other.csv", b"")
    near = re.escape(str(tmp_path / "reviews.csv"))
    with pytest.raises(DataError, match=rf"there is no file '.*reviws\.csv'; did you mean '{near}'\?"):
        texts(tmp_path / "reviws.csv")


def test_missing_file_lists_the_folder_when_nothing_is_near(tmp_path):
    for number in range(7):
        write(tmp_path / f"part{number}.txt", b"")
    write(tmp_path / ".hidden", b"")
    with pytest.raises(DataError, match=r"; the folder holds part0\.txt, .*part4\.txt and 2 more$"):
        check_file(tmp_path / "zzz.csv")


def test_missing_file_in_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"there is no file '.*a\.txt'; the folder is empty"):
        check_file(tmp_path / "a.txt")


def test_missing_file_in_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"there is no file '.*a\.txt'"):
        check_file(tmp_path / "a.txt")


def test_file_that_is_mended_while_it_is_read(tmp_path):
    with pytest.raises(RuntimeError, match=r"a\.txt: the file changed while it was read"):
        _not_utf8(write(tmp_path / "a.txt", b"good"))


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"there is no file '.*a\.txt'; there is no folder '.*nowhere' either"):
        check_file(tmp_path / "nowhere" / "a.txt")


def test_folder_where_a_file_is_wanted(tmp_path):
    write(tmp_path / "a.txt", b"")
    with pytest.raises(DataError, match=r"is a folder; allowed: a file; name a file in it; the folder holds a\.txt"):
        texts(tmp_path)


def test_what_can_be_no_path_is_not_there():
    assert not exists("x" * 10_000)
    assert not exists("a\0b")
    assert not exists("")
    with pytest.raises(DataError, match="there is no file"):
        check_file("y" * 10_000)


def test_unreadable_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", b"one\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.txt: may not be read \(permission denied\)"):
        texts(path)
    with pytest.raises(DataError, match=r"a\.txt: may not be read"):
        content_hash([path])


def test_failing_disk(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", b"one\n")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(Input/output error\)"):
        read_bytes(path)


def test_truncated_gzip(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("".join(f"line {number}\n" for number in range(9999)).encode())[:-200])
    with pytest.raises(DataError, match=r"a\.txt\.gz: the gzip file is damaged or cut short"):
        texts(path)
    with pytest.raises(DataError, match=r"a\.txt\.gz: the gzip file is damaged or cut short"):
        read_bytes(path)


def test_gzip_with_a_wrong_checksum(tmp_path):
    content = bytearray(gzip.compress(b"one\n"))
    content[-8] ^= 1
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt\.gz: the gzip file is damaged or cut short \(CRC check failed"):
        texts(path)


def test_plain_text_named_gz(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(b"plain\n")
    with pytest.raises(DataError, match=r"a\.txt\.gz: not a gzip file though its name ends in \.gz"):
        texts(path)


def test_read_bytes_unpacks(tmp_path):
    assert read_bytes(write(tmp_path / "a.parquet.gz", b"\0PAR")) == b"\0PAR"


@pytest.mark.parametrize(
    ("name", "ending"), [("a.csv", ".csv"), ("A.CSV.GZ", ".csv"), ("a.tar.jsonl.gz", ".jsonl"), ("a", ""), ("x.gz", "")]
)
def test_format_ignores_case_and_gz(name, ending):
    assert file_format(Path(name)) == ending


def test_hash_of_one_file_is_its_sha256(tmp_path):
    path = write(tmp_path / "a.txt", b"one\n")
    assert content_hash([path]) == hashlib.sha256(b"one\n").hexdigest()


def test_hash_depends_on_bytes_order_and_cuts_not_on_names(tmp_path):
    one, two = write(tmp_path / "a.txt", b"one"), write(tmp_path / "b.txt", b"two")
    cut, rest = write(tmp_path / "c.txt", b"on"), write(tmp_path / "d.txt", b"etwo")
    same = write(tmp_path / "e.txt", b"one")
    assert content_hash([one, two]) == content_hash([same, two])
    assert len({content_hash([one, two]), content_hash([two, one]), content_hash([cut, rest])}) == 3


def test_hash_of_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        content_hash([tmp_path / "a.txt"])
