import bz2
import gzip
import json
import lzma
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from minigpt.corpus.qa import read_pairs
from minigpt.errors import DataError
from tests.corpus.examples import to_line

TEXT = to_line({"question": "你好吗？", "answer": "我很好，谢谢！"}).decode() + "\n"


POSIX = pytest.mark.skipif(os.name != "posix", reason="types commands of a POSIX shell")


def refusal(path: Path, content: bytes) -> DataError:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    return caught.value


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("gb18030", "GB18030"),
        ("gbk", "GB18030"),
    ],
)
def test_other_encoding_is_named_with_its_conversion(tmp_path: Path, codec: str, name: str) -> None:
    error = refusal(tmp_path / "data.jsonl", (TEXT * 3).encode(codec))
    assert f"looks like {name}, expected UTF-8" in error.message
    assert f"iconv -f {name} -t UTF-8" in error.hint


@pytest.mark.parametrize("content", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"])
def test_file_without_a_line_is_called_empty(tmp_path: Path, content: bytes) -> None:
    assert "the file is empty" in refusal(tmp_path / "data.jsonl", content).message


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array_is_named_with_its_conversion(tmp_path: Path, indent: int | None) -> None:
    content = json.dumps([json.loads(TEXT)] * 2, indent=indent)
    error = refusal(tmp_path / "data.json", content.encode())
    assert "is one JSON array" in error.message
    assert "jq -c" in error.hint


PACKED = {
    "gzip": gzip.compress(TEXT.encode()),
    "bzip2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
    "zstd": b"\x28\xb5\x2f\xfd" + TEXT.encode(),
    "zip": b"PK\x03\x04" + TEXT.encode(),
}


@pytest.mark.parametrize("packer", PACKED)
def test_compressed_file_is_named_with_what_unpacks_it(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "data.jsonl"
    error = refusal(path, PACKED[packer])
    assert error.message == f"{path}: is compressed by {packer}"
    assert error.hint.startswith("unpack it: ")
    assert error.hint.endswith(f" {path} > lines.jsonl")


@POSIX
def test_what_the_hint_says_unpacks_the_file(tmp_path: Path) -> None:
    error = refusal(tmp_path / "data.jsonl", PACKED["gzip"])
    if shutil.which("gzip") is None:
        pytest.skip("needs gzip")
    command = error.hint.removeprefix("unpack it: ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "lines.jsonl").read_text("utf-8") == TEXT


@POSIX
def test_lines_that_end_in_cr_alone_are_named_with_the_conversion(tmp_path: Path) -> None:
    error = refusal(tmp_path / "data.jsonl", TEXT.replace("\n", "\r").encode() * 3)
    assert "end in CR alone" in error.message
    subprocess.run(error.hint.removeprefix("rewrite it: "), shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "lines.jsonl").read_text("utf-8") == TEXT * 3


def test_hint_can_be_typed_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "it's $(date) data.jsonl"
    error = refusal(path, TEXT.encode("gb18030"))
    command = error.hint.removeprefix("convert it: ")
    assert shlex.split(command)[:6] == ["iconv", "-f", "GB18030", "-t", "UTF-8", str(path)]


def test_other_field_names_are_listed(tmp_path: Path) -> None:
    error = refusal(tmp_path / "data.jsonl", to_line({"prompt": "a", "reply": "b"}))
    assert "line 1: field 'question' missing" in error.message
    assert "'prompt', 'reply'" in error.hint
    assert "question_key" in error.hint


def test_first_reason_and_an_example_are_given_otherwise(tmp_path: Path) -> None:
    error = refusal(tmp_path / "data.jsonl", b"\nquestion,answer\n\xff\n")
    assert "no valid pair; the first bad line is line 2: not JSON" in error.message
    assert '{"question": "…", "answer": "…"}' in error.hint
