"""The secret: made once, whole, and for nobody else."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devpi_server.errors import ConfigError, Refused, StoreError
from devpi_server.store.secret import of_data_directory, of_file, write_new_secret


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o755)
    return path


def given(folder: Path, content: bytes = b"x" * 32, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        of_file(path)
    return caught.value.faults


def test_the_first_start_makes_a_secret_that_later_ones_find(folder: Path) -> None:
    secret = of_data_directory(folder)

    assert len(secret) >= 32
    assert of_data_directory(folder) == secret
    assert os.listdir(folder) == ["secret"]


def test_no_two_installations_have_the_same(folder: Path, tmp_path: Path) -> None:
    assert of_data_directory(folder) != of_data_directory(tmp_path)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_it_is_for_its_owner_alone_whatever_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_new_secret(folder / "secret")
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / "secret").stat().st_mode) & 0o077 == 0


START = """
import sys
from pathlib import Path
from devpi_server.store.secret import of_data_directory
sys.stdin.read(1)
sys.stdout.buffer.write(of_data_directory(Path(sys.argv[1])))
"""


def test_processes_that_start_at_once_have_the_same_secret(folder: Path) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for start in starts:
        assert start.stdin is not None
        start.stdin.write(b"\n")
        start.stdin.flush()
    secrets = {start.communicate()[0] for start in starts}

    assert secrets == {(folder / "secret").read_bytes()}
    assert os.listdir(folder) == ["secret"]


def test_who_comes_second_takes_the_secret_of_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks, finds none, and meanwhile there is one."""
    given(folder, b"first" * 10)
    monkeypatch.setattr(Path, "exists", lambda *_: False)

    assert of_data_directory(folder) == b"first" * 10
    assert os.listdir(folder) == ["secret"]


def test_a_secret_is_never_replaced(folder: Path) -> None:
    path = given(folder, b"old" * 20)

    with pytest.raises(Refused, match="is there already"):
        write_new_secret(path)

    assert path.read_bytes() == b"old" * 20
    assert os.listdir(folder) == ["secret"]


def test_a_link_to_nowhere_is_not_replaced_either(folder: Path) -> None:
    (folder / "secret").symlink_to(folder / "elsewhere")

    with pytest.raises(Refused):
        write_new_secret(folder / "secret")

    assert os.listdir(folder) == ["secret"]


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot make the secret .*No such file or directory"):
        write_new_secret(folder / "missing" / "secret")


def test_a_data_directory_that_a_group_writes_to_is_fine(folder: Path) -> None:
    """As the umask 002 of many systems makes it."""
    folder.chmod(0o775)

    assert of_data_directory(folder)


def test_a_secret_in_the_data_directory_that_others_can_read_is_closed_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As copies and the mounts of some volumes leave it."""
    path = given(folder, mode=0o664)

    with caplog.at_level(logging.WARNING):
        assert of_data_directory(folder) == b"x" * 32

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "others could read" in caplog.text
    assert "xxx" not in caplog.text


def test_one_that_cannot_be_closed_to_others_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(folder, mode=0o664)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)

    with pytest.raises(ConfigError, match="others can read the secret"):
        of_data_directory(folder)


def test_a_secret_in_the_data_directory_that_was_cut_off_is_refused(folder: Path) -> None:
    given(folder, b"short")

    with pytest.raises(ConfigError, match="has not from 32 to 65536 bytes"):
        of_data_directory(folder)


def test_a_file_is_the_secret_with_all_its_bytes(folder: Path) -> None:
    content = b" \xff\0\n" * 8

    assert of_file(given(folder, content, 0o400)) == content


def test_what_was_written_for_a_file_is_accepted_as_one(folder: Path) -> None:
    write_new_secret(folder / "secret")

    assert len(of_file(folder / "secret")) == 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601])
def test_a_file_that_others_may_use_is_refused(folder: Path, mode: int) -> None:
    path = given(folder, mode=mode)

    assert faults(path) == (f"others can read the secret, see to it: chmod go-rwx {path}",)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_file_in_a_folder_that_others_write_to_is_refused(folder: Path, mode: int) -> None:
    path = given(folder)
    folder.chmod(mode)

    assert faults(path) == (f"others can replace the secret, see to it: chmod go-w {folder}",)


def test_a_link_needs_both_folders_to_be_closed(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(given(folder))
    folder.chmod(0o777)

    assert faults(link) == (f"others can replace the secret, see to it: chmod go-w {folder}",)
    folder.chmod(0o755)
    tmp_path.chmod(0o777)
    assert faults(link) == (f"others can replace the secret, see to it: chmod go-w {tmp_path}",)


@pytest.mark.parametrize("size", [0, 31, 65537])
def test_a_file_has_neither_too_few_bytes_nor_too_many(folder: Path, size: int) -> None:
    path = given(folder, b"x" * size)

    assert faults(path) == (f"the secret {path} has not from 32 to 65536 bytes",)


def test_what_is_no_file_is_refused_at_once(folder: Path) -> None:
    """A pipe would be waited for, a device has no end."""
    os.mkfifo(folder / "pipe", 0o600)

    assert faults(folder / "pipe") == (f"the secret {folder / 'pipe'} is not a file",)
    assert "the secret /dev/zero is not a file" in faults(Path("/dev/zero"))
    assert f"the secret {folder} is not a file" in faults(folder)


def test_a_file_that_is_not_there_is_told(folder: Path) -> None:
    path = folder / "no" / "secret"

    assert faults(path) == (f"cannot read the secret {path}: No such file or directory",)


def test_all_faults_come_at_once(folder: Path) -> None:
    path = given(folder, b"short", 0o644)
    folder.chmod(0o777)

    assert len(faults(path)) == 3


def test_a_fault_does_not_tell_the_secret(folder: Path) -> None:
    assert "hunter2" not in "".join(faults(given(folder, b"hunter2", 0o644)))
