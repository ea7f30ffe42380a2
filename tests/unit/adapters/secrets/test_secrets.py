from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.adapters.secrets.environment import EnvironmentSecrets
from counterpoint.adapters.secrets.file import FileSecrets
from counterpoint.errors import NotFound


def test_the_prefixed_variable_goes_before_the_plain_one() -> None:
    secrets = EnvironmentSecrets({"COUNTERPOINT_SECRET_A": "1", "A": "2", "B": "3"})

    assert (secrets.resolve("A"), secrets.resolve("B")) == ("1", "3")


def test_a_folder_has_a_file_for_each_secret(tmp_path: Path) -> None:
    (tmp_path / "TOKEN").write_text("two\nlines\n")

    assert FileSecrets(tmp_path).resolve("TOKEN") == "two\nlines"


def test_a_file_has_a_line_for_each_secret(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("# TOKEN=old\nTOKEN = a=b\nQUOTED='  x '\n\n")
    secrets = FileSecrets(file)

    assert (secrets.resolve("TOKEN"), secrets.resolve("QUOTED")) == ("a=b", "  x ")


@pytest.mark.parametrize("name", ["NO", "../outside", ".hidden"])
def test_an_unknown_secret_is_not_found(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "outside").write_text("x")
    (folder / ".hidden").write_text("x")
    (tmp_path / "file").write_text("A=1\n")

    for secrets in (EnvironmentSecrets({}), FileSecrets(folder), FileSecrets(tmp_path / "file")):
        with pytest.raises(NotFound):
            secrets.resolve(name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.env"):
        FileSecrets(tmp_path / "gone.env").resolve("A")
