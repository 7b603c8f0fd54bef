"""For whom files are fetched."""

from __future__ import annotations

import pytest
from packaging.markers import Marker

from devpi_server.services.prefetch import targets
from devpi_server.services.prefetch.targets import HERE, Target

WINDOWS = Target((3, 12), "win_amd64")
LINUX = Target((3, 12), "manylinux_2_28_x86_64")
MAC = Target((3, 12), "macosx_14_0_arm64")
MUSL = Target((3, 12), "musllinux_1_2_x86_64")


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        (WINDOWS, "cp312-cp312-win_amd64"),
        (WINDOWS, "cp37-abi3-win_amd64"),
        (WINDOWS, "py3-none-any"),
        (WINDOWS, "py2.py3-none-win_amd64"),
        (LINUX, "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64"),
        (LINUX, "cp312-cp312-manylinux1_x86_64"),
        (LINUX, "cp312-cp312-linux_x86_64"),
        (LINUX, "cp311-abi3-manylinux_2_28_x86_64"),
        (MAC, "cp312-cp312-macosx_11_0_arm64"),
        (MAC, "cp312-cp312-macosx_10_13_universal2"),
        (MUSL, "cp312-cp312-musllinux_1_1_x86_64"),
        (Target(), "py3-none-any"),
    ],
)
def test_a_target_takes_what_can_be_installed_there(target: Target, tags: str) -> None:
    assert target.rank(f"demo-1.0-{tags}.whl") is not None


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (WINDOWS, "demo-1.0-cp312-cp312-win32.whl"),
        (WINDOWS, "demo-1.0-cp311-cp311-win_amd64.whl"),
        (LINUX, "demo-1.0-cp312-cp312-manylinux_2_34_x86_64.whl"),
        (LINUX, "demo-1.0-cp312-cp312-manylinux_2_17_aarch64.whl"),
        (LINUX, "demo-1.0-cp312-cp312-musllinux_1_1_x86_64.whl"),
        (MAC, "demo-1.0-cp312-cp312-macosx_15_0_arm64.whl"),
        (MAC, "demo-1.0-cp313-abi3-macosx_11_0_arm64.whl"),
        (MUSL, "demo-1.0-py2-none-any.whl"),
        (LINUX, "demo-1.0.tar.gz"),
        (LINUX, "demo.whl"),
    ],
)
def test_a_target_takes_nothing_else(target: Target, name: str) -> None:
    assert target.rank(name) is None


def test_the_closest_wheel_is_the_best_and_of_two_builds_the_later() -> None:
    own = LINUX.rank("demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl")
    later = LINUX.rank("demo-1.0-2-cp312-cp312-manylinux_2_17_x86_64.whl")
    pure = LINUX.rank("demo-1.0-py3-none-any.whl")

    assert own is not None
    assert later is not None
    assert pure is not None
    assert later < own < pure


@pytest.mark.parametrize(
    ("target", "marker"),
    [
        (WINDOWS, "sys_platform == 'win32' and os_name == 'nt'"),
        (WINDOWS, "platform_system == 'Windows' and platform_machine == 'AMD64'"),
        (LINUX, "sys_platform == 'linux' and platform_machine == 'x86_64'"),
        (MAC, "sys_platform == 'darwin' and platform_machine == 'arm64'"),
        (LINUX, "python_version == '3.12' and implementation_name == 'cpython'"),
        # Nobody says which patch release it is.
        (LINUX, "python_full_version < '3.12.3'"),
        (LINUX, "python_full_version >= '3.12.3'"),
    ],
)
def test_markers_hold_as_they_would_there(target: Target, marker: str) -> None:
    assert target.needs(Marker(marker))


@pytest.mark.parametrize(
    ("target", "marker"),
    [
        (WINDOWS, "sys_platform != 'win32'"),
        (MAC, "platform_machine == 'x86_64'"),
        (LINUX, "python_version < '3.12'"),
        (LINUX, "python_full_version < '3.12'"),
        (LINUX, "extra == 'test'"),
    ],
)
def test_and_do_not_hold_as_they_would_not(target: Target, marker: str) -> None:
    assert not target.needs(Marker(marker))


def test_a_marker_may_ask_for_an_extra() -> None:
    assert LINUX.needs(Marker("extra == 'test'"), frozenset({"a", "test"}))


def test_a_requires_python_that_cannot_be_read_keeps_nobody_out() -> None:
    assert LINUX.takes_python(">=3.6.*")
    assert LINUX.takes_python(None)
    assert LINUX.takes_python(">=3.12.5")
    assert not LINUX.takes_python("<3.12")


def test_without_a_platform_it_is_this_machine() -> None:
    assert Target().is_here
    assert not Target((3, 5)).is_here
    assert Target((3, 5)).platforms == Target().platforms
    assert Target().python == HERE


@pytest.mark.parametrize(
    "text", ["linux", "macos", "windows", "win32", "manylinux2014_aarch64", "macosx_13_0_x86_64"]
)
def test_a_platform_has_a_name_or_a_tag(text: str) -> None:
    assert Target((3, 12), targets.platform(text)).platforms


@pytest.mark.parametrize("text", ["", "Linux", "any", "win", "manylinux_2_x86_64", "macosx_1"])
def test_what_is_no_platform_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no platform"):
        targets.platform(text)


@pytest.mark.parametrize("text", ["", "3", "2.7", "3.x", "3.123", "311", "3.11.2"])
def test_what_is_no_python_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        targets.python(text)
