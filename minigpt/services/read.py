"""Reading a data file as `[data]` says."""

from pathlib import Path

from minigpt.corpus.qa import QAFile, read_file
from minigpt.corpus.scan import DataFile
from minigpt.events import Report
from minigpt.settings import DataSettings


def read_data(path: Path, data: DataSettings, report: Report) -> QAFile:
    """Read `path` with the field names and the strictness of `[data]`.

    Raises:
        DataError: As `read_file` does.
    """
    return read_file(
        path,
        question_key=data.question_key,
        answer_key=data.answer_key,
        strict=data.strict,
        report=report,
    )


def data_file(path: Path, data: DataSettings) -> DataFile:
    """The file at `path`, to be read as `[data]` says."""
    return DataFile(path, data.question_key, data.answer_key, data.strict)
