"""Requirements files, as people write them and as nobody should."""

from __future__ import annotations

import pytest

from devpi_server.services.prefetch import requirements
from devpi_server.services.prefetch.files import MOST_LINES, Asked
from devpi_server.services.prefetch.requirements import Nothing

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Others:
    """Files that name each other."""

    def __init__(self, **files: str) -> None:
        self._files = files

    def file(self, name: str, seen_from: str) -> tuple[str, bytes]:
        if name not in self._files:
            raise ValueError(f"there is no file {name}")
        return name, self._files[name].encode()

    def folder(self, name: str, seen_from: str) -> str:
        return f"/folder/{name}"


def read(text: str, **others: str) -> Asked:
    return requirements.read("requirements.txt", text.encode(), Others(**others))


def lines(asked: Asked) -> list[str]:
    return [str(line.requirement) for line in asked.lines]


def reasons(asked: Asked) -> dict[str, str]:
    return {fault.text: fault.reason for fault in asked.faults}


def test_ranges_extras_and_markers_are_lines() -> None:
    asked = read("# about\nDjango >= 4.2, <5  # why\n\nrequests[socks]==2.0; python_version>'3'\n")

    assert lines(asked) == ["Django<5,>=4.2", 'requests[socks]==2.0; python_version > "3"']
    assert asked.lines[0].text == "Django >= 4.2, <5"
    assert not asked.faults


def test_a_backslash_continues_a_line() -> None:
    assert lines(read("demo \\\n  >=1 \\\n  ,<2\n")) == ["demo<2,>=1"]


def test_exact_versions_with_hashes_are_pins() -> None:
    asked = read(
        f"demo==1.0 \\\n  --hash={A} \\\n  --hash={B}\nother==2 ; os_name=='nt' --hash {A}\n"
    )

    assert not asked.lines
    demo, other = asked.pins
    assert (demo.project, demo.version, demo.hashes) == ("demo", "1.0", {A, B})
    assert [str(marker) for marker in other.markers] == ['os_name == "nt"']


@pytest.mark.parametrize(
    "other", ["other", "other>=1", "other==1.*", "other==1", "other[x]==1 --hash=" + A]
)
def test_otherwise_hashes_stay_with_their_lines(other: str) -> None:
    asked = read(f"demo==1.0 --hash={A}\n{other}\n")

    assert not asked.pins
    assert asked.lines[0].hashes == {A}


def test_files_name_files() -> None:
    files = {"more": "other\n-r more\n", "limits": "demo<2\n-r x\n", "x": "y<3\n"}
    asked = read("-r more\n--constraint=limits\ndemo\n", **files)

    assert lines(asked) == ["other", "demo"]
    assert [str(each) for each in asked.constraints] == ["demo<2", "y<3"]


def test_files_that_name_each_other_without_end_are_told() -> None:
    deep = {f"{number}": f"-r {number + 1}\n" for number in range(50)}

    assert "too deeply" in "".join(reasons(read("-r 0\n", **deep)).values())


def test_a_file_that_is_not_there_is_a_fault_of_its_line() -> None:
    assert reasons(read("demo\n-r gone.txt\n")) == {"-r gone.txt": "there is no file gone.txt"}


@pytest.mark.parametrize(
    "line", ["-r /etc/passwd", "-c secret", "-e .", "./demo", "file:///etc/passwd", "."]
)
def test_who_sends_a_file_reads_none_of_ours(line: str) -> None:
    asked = requirements.read("x", line.encode(), Nothing())

    assert len(asked.faults) == 1
    assert not [*asked.lines, *asked.pins, *asked.folders, *asked.constraints]


@pytest.mark.parametrize(
    "line",
    ["git+https://host/x.git", "-e git+ssh://host/x#egg=x", "http://host/x-1.0.tar.gz",
     "demo @ https://host/demo.whl", "hg+http://host/x", "-r https://host/requirements.txt"],
)  # fmt: skip
def test_what_is_at_a_url_is_told(line: str) -> None:
    asked = read(line)

    assert len(asked.faults) == 1
    assert "URL" in asked.faults[0].reason
    assert not [*asked.lines, *asked.folders]


@pytest.mark.parametrize(
    "line", ["-e .", ".[test]", "./demo", "-e ../demo[a,b]", "--editable=demo"]
)
def test_a_folder_is_one(line: str) -> None:
    assert len(read(line).folders) == 1


@pytest.mark.parametrize("line", ["--index-url http://host/", "-i http://host/", "-f /x",
                                  "--extra-index-url=http://host/", "--trusted-host h",
                                  "--no-index", "--find-links x"])  # fmt: skip
def test_other_places_are_not_heeded_and_that_is_told(line: str) -> None:
    asked = read(f"{line}\ndemo\n")

    assert lines(asked) == ["demo"]
    assert len(asked.notes) == 1
    assert not [*asked.faults, *asked.options]


def test_what_pip_is_told_about_forms_of_files_is_passed_on() -> None:
    asked = read("--no-binary demo\n--only-binary=:all:\n--pre\ndemo\n")

    assert asked.options == ["--no-binary=demo", "--only-binary=:all:", "--pre"]


@pytest.mark.parametrize(
    "line",
    ["--target=/x", "--no-binary=x --target=/x", "--global-option=x", "-x", "--", "--report=/x",
     "!", "demo==", "demo >=1 oops", "${HOME}", "demo==${SECRET}", "=1", "demo; oops",
     "demo; " + "(" * 500 + "os_name=='x'" + ")" * 500, "x" * 3000, "a\x00b", "[x]"],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_does_not_hide_the_others(line: str) -> None:
    asked = read(f"one\n{line}\ntwo\n")

    assert lines(asked) == ["one", "two"]
    assert len(asked.faults) == 1
    assert asked.faults[0].is_unreadable
    assert len(asked.faults[0].text) <= 200


def test_words_behind_a_requirement_do_not_reach_pip() -> None:
    asked = read("demo==1 --global-option=--x --config-settings y=z --install-option=--prefix=/\n")

    assert lines(asked) == ["demo==1"]
    assert not asked.options


def test_there_is_an_end_to_lines() -> None:
    asked = read("demo\n" * (MOST_LINES + 5))

    assert len(asked.lines) == MOST_LINES
    assert len(asked.faults) == 1


@pytest.mark.parametrize(
    "data",
    ["dém>=1".encode("utf-16"), b"\xef\xbb\xbfdemo\n", b"# coding: latin-1\n# \xe9\ndemo\n"],
)
def test_encodings_are_as_pip_has_them(data: bytes) -> None:
    asked = requirements.read("x", data, Nothing())

    assert len(asked.lines) + len(asked.faults) == 1
    assert "text" not in "".join(fault.reason for fault in asked.faults)


@pytest.mark.parametrize("data", [b"\xff", b"# coding: latin-17\nx", b"\xe9\n"])
def test_what_is_no_text_is_told(data: bytes) -> None:
    (fault,) = requirements.read("x", data, Nothing()).faults

    assert fault.reason == "it is not a text that can be read"
