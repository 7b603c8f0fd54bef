"""A folder is seen as it is at this moment, and is not searched for it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import FakeClock

from devpi_server.errors import NoSuchFile, NoSuchProject, StoreError
from devpi_server.names import project
from devpi_server.store import folderlistings, foldertree
from devpi_server.store.folders import Folders
from devpi_server.store.foldertree import Mark, Node

FOO, BAR = project("foo"), project("bar")
FAR = 1e11  # a clock that makes everything old, and so every listing settled


class Shelf:
    """A folder and what is seen of it; counts what looking costs."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.timer = FakeClock(0.0)
        self.clock = FakeClock(FAR)
        self.folders = Folders([root], clock=self.clock, timer=self.timer)
        self.listed: list[str] = []
        self.looked = 0
        self._ticks = 0
        monkeypatch.setattr(folderlistings, "list_directory", self._list)
        looking = Node.look

        def look(node: Node) -> Mark | int:
            self.looked += 1
            return looking(node)

        monkeypatch.setattr(Node, "look", look)

    def _list(self, path: str) -> foldertree.Inside:
        self.listed.append(os.path.relpath(path, self.root))
        return foldertree.list_directory(path)

    def put(self, path: str, content: bytes = b"x") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        self.tick(place, place.parent)
        return place

    def remove(self, path: str) -> None:
        (self.root / path).unlink()
        self.tick((self.root / path).parent)

    def tick(self, *paths: Path) -> None:
        """Give the paths times that they never had: kernels of old have ticks of milliseconds."""
        for path in paths:
            self._ticks += 1
            os.utime(path, ns=(self._ticks * 1001,) * 2)

    def seen(self, name: str = "foo") -> list[str]:
        try:
            return [file.relative for file in self.folders.contents(project(name)).files]
        except NoSuchProject:
            return []


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    (tmp_path / "root").mkdir()
    return Shelf(tmp_path / "root", monkeypatch)


def test_what_is_copied_in_or_removed_is_seen_at_once(shelf: Shelf) -> None:
    """Also in directories that are new themselves."""
    assert shelf.seen() == []
    shelf.put("foo-1.0.zip")
    assert shelf.seen() == ["foo-1.0.zip"]
    shelf.put("deep/er/foo-2.0.tar.gz")
    shelf.put("deep/bar-2.0.tar.gz")
    assert shelf.seen() == ["foo-1.0.zip", "deep/er/foo-2.0.tar.gz"]
    shelf.remove("foo-1.0.zip")
    assert shelf.seen() == ["deep/er/foo-2.0.tar.gz"]
    shutil.rmtree(shelf.root / "deep")
    shelf.tick(shelf.root)
    assert shelf.seen() == []
    assert shelf.folders.listing()[1] == []


def test_what_does_not_change_is_listed_once(shelf: Shelf) -> None:
    """A request stats, it does not search."""
    shelf.put("a/foo-1.0.zip")
    shelf.put("b/foo-2.0.zip")
    shelf.seen()
    assert sorted(shelf.listed) == [".", "a", "b"]
    shelf.seen()
    shelf.folders.locate("foo-1.0.zip")
    shelf.folders.listing()
    assert sorted(shelf.listed) == [".", "a", "b"]
    shelf.put("b/foo-3.0.zip")
    shelf.seen()
    assert sorted(shelf.listed) == [".", "a", "b", "b"]


def test_a_file_that_is_written_over_in_place_is_seen_at_once(shelf: Shelf) -> None:
    """It changes itself, not its directory."""
    place = shelf.put("foo-1.0.zip", b"old")
    stamps = {shelf.folders.contents(FOO).stamp}
    for content in (b"newer", b"other"):
        place.write_bytes(content)
        shelf.tick(place)
        after = shelf.folders.contents(FOO)
        assert after.files[0].size == 5
        stamps.add(after.stamp)
    assert len(stamps) == 3
    assert shelf.listed == ["."]


def test_equal_stamps_are_of_equal_files(shelf: Shelf) -> None:
    """And what did not change has the same stamp in every process."""
    shelf.put("foo-1.0.zip")
    first = shelf.folders.contents(FOO)
    assert shelf.folders.contents(FOO).stamp == first.stamp
    again = Folders([shelf.root], clock=shelf.clock, timer=shelf.timer)
    assert again.contents(FOO) == first
    shelf.put("foo-1.0.zip.asc")
    assert shelf.folders.contents(FOO).stamp != first.stamp
    assert shelf.folders.contents(FOO).files[0].is_signed


def test_a_directory_whose_time_was_set_back_has_changed(shelf: Shelf) -> None:
    """rsync and tar do that."""
    shelf.seen()
    before = shelf.root.stat()
    shelf.put("foo-1.0.zip")
    os.utime(shelf.root, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert shelf.seen() == ["foo-1.0.zip"]


def test_directories_that_are_gone_leave_nothing_behind(shelf: Shelf) -> None:
    """However many come and go."""
    for number in range(10):
        shelf.put(f"build{number}/deep/foo-1.0.zip")
        assert shelf.seen() == [f"build{number}/deep/foo-1.0.zip"]
        shutil.rmtree(shelf.root / f"build{number}")
        shelf.tick(shelf.root)
    assert shelf.seen() == []
    assert [node.path for node in shelf.folders._catalogue.all_nodes()] == [str(shelf.root)]
    assert shelf.folders.count == 0


def test_names_that_come_in_the_tick_of_a_listing_are_seen(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory's times do not tell, so it is listed until they would."""
    shelf.clock.now = 0.0  # nothing is old
    looking = Node.look

    def coarse(node: Node) -> Mark | int:
        mark = looking(node)
        return mark if isinstance(mark, int) else mark._replace(modified=7, changed=7)

    monkeypatch.setattr(Node, "look", coarse)
    shelf.put("foo-1.0.zip")
    assert shelf.seen() == ["foo-1.0.zip"]
    shelf.put("foo-2.0.zip")
    assert shelf.seen() == ["foo-1.0.zip", "foo-2.0.zip"]
    shelf.timer.advance(1.0)
    shelf.seen()
    listed = len(shelf.listed)
    shelf.seen()
    assert len(shelf.listed) == listed


def test_a_clock_of_whole_seconds_needs_more_time_to_be_believed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT has ticks of two seconds."""
    shelf.clock.now = 0.0
    mark = Mark(1, 1, 2_000_000_000, 2_000_000_000)
    monkeypatch.setattr(Node, "look", lambda node: mark)
    shelf.seen()
    shelf.timer.advance(2.0)
    shelf.seen()
    shelf.seen()
    assert len(shelf.listed) == 3
    shelf.timer.advance(1.0)
    shelf.seen()
    shelf.seen()
    assert len(shelf.listed) == 4


def test_dot_files_and_what_is_no_package_are_not_there(shelf: Shelf) -> None:
    """As pypi-server has it; and no name is too odd to be passed over."""
    for name in [".foo-1.0.zip", ".hidden/foo-1.0.zip", "README", "foo\n-1.0.zip", "foo-1.0.zipp"]:
        shelf.put(name)
    (shelf.root / os.fsdecode(b"foo\xff-1.0.zip")).touch()
    (shelf.root / "foo-3.0.zip").mkdir()
    os.mkfifo(shelf.root / "foo-4.0.zip")
    os.symlink("nowhere", shelf.root / "foo-5.0.zip")
    shelf.put("foo-2.0.zip")
    shelf.put(os.fsdecode(b"d\xffr/foo-6.0.zip"))
    assert shelf.seen() == ["foo-2.0.zip", os.fsdecode(b"d\xffr/foo-6.0.zip")]


def test_links_to_files_are_followed_and_links_to_directories_are_not(
    shelf: Shelf, tmp_path: Path
) -> None:
    """So no loop has an end to be found."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "foo-1.0.zip").write_bytes(b"x")
    os.symlink(tmp_path / "elsewhere", shelf.root / "linked")
    os.symlink(shelf.root, shelf.root / "loop")
    os.symlink(tmp_path / "elsewhere" / "foo-1.0.zip", shelf.root / "foo-7.0.zip")
    os.symlink(tmp_path / "elsewhere" / "foo-8.0.zip", shelf.root / "foo-8.0.zip")
    assert shelf.seen() == ["foo-7.0.zip"]
    (tmp_path / "elsewhere" / "foo-8.0.zip").write_bytes(b"x")
    assert shelf.seen() == ["foo-7.0.zip", "foo-8.0.zip"]


def test_a_root_that_is_a_link_may_be_turned_to_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is how people put a new state in place in one step."""
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / f"foo-{name}.zip").touch()
    (tmp_path / "now").symlink_to("one")
    shelf = Shelf(tmp_path / "now", monkeypatch)
    assert shelf.seen() == ["sub/foo-one.zip"]
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert shelf.seen() == ["sub/foo-two.zip"]


def test_of_two_files_with_one_name_the_first_folder_has_it(tmp_path: Path) -> None:
    """And the other one takes its place at once when it goes."""
    places = [
        "a/foo-1.0.zip", "a/y/foo-1.0.zip", "a/z/foo-1.0.zip", "a/x/x/foo-1.0.zip", "b/foo-1.0.zip",
    ]  # fmt: skip
    for number, place in enumerate(places):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x" * number)
    folders = Folders([tmp_path / "a", tmp_path / "b"], clock=FakeClock())
    for place in places:
        (file,) = folders.contents(FOO).files
        assert file.path == str(tmp_path / place)
        assert folders.locate("foo-1.0.zip") == file
        (tmp_path / place).unlink()
    with pytest.raises(NoSuchProject):
        folders.contents(FOO)


def test_hidden_files_are_at_their_paths(tmp_path: Path) -> None:
    """``/packages/<path>`` of pypi-server leads to all of them."""
    for place in ("a/foo-1.0.zip", "a/x/foo-1.0.zip", "a/x/foo-1.0.zip.asc", "b/y/foo-1.0.zip"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    folders = Folders([tmp_path / "a", tmp_path / "b"], clock=FakeClock())
    for relative in ("foo-1.0.zip", "x/foo-1.0.zip", "x/foo-1.0.zip.asc", "y/foo-1.0.zip"):
        assert folders.locate_at(relative).relative == relative
    assert len(list(folders.everything())) == folders.count == 4
    for absent in (
        "z/foo-1.0.zip", "../a/foo-1.0.zip", "x/../foo-1.0.zip", f"{tmp_path}/b/y/foo-1.0.zip",
        "", "/", "x", "x/", "/foo-1.0.zip", "README",
    ):  # fmt: skip
        with pytest.raises(NoSuchFile):
            folders.locate_at(absent)


def test_a_signature_is_that_of_the_file_that_counts(shelf: Shelf) -> None:
    """Not one that lies beside another file of that name."""
    shelf.put("foo-1.0.zip")
    shelf.put("x/foo-1.0.zip")
    shelf.put("x/foo-1.0.zip.asc")
    with pytest.raises(NoSuchFile):
        shelf.folders.locate("foo-1.0.zip.asc")
    shelf.put("foo-1.0.zip.asc")
    assert shelf.folders.locate("foo-1.0.zip.asc").relative == "foo-1.0.zip.asc"
    assert shelf.seen() == ["foo-1.0.zip"]
    with pytest.raises(NoSuchFile):
        shelf.folders.locate("foo-2.0.zip")


def test_a_root_that_is_gone_is_no_answer(shelf: Shelf) -> None:
    """ "Cannot tell" is never "not there": a client would go elsewhere for the name."""
    shelf.put("foo-1.0.zip")
    shelf.seen()
    shelf.root.rename(shelf.root.with_name("away"))
    for ask in (
        lambda: shelf.folders.contents(FOO),
        lambda: shelf.folders.contents(BAR),
        lambda: shelf.folders.locate("foo-1.0.zip"),
        lambda: shelf.folders.locate_at("foo-1.0.zip"),
    ):
        with pytest.raises(StoreError, match="cannot read the folder"):
            ask()
    shelf.root.with_name("away").rename(shelf.root)
    assert shelf.seen() == ["foo-1.0.zip"]


def test_a_root_that_is_gone_does_not_hide_the_others(tmp_path: Path) -> None:
    """What is there is there."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "foo-1.0.zip").touch()
    folders = Folders([tmp_path / "a", tmp_path / "b"], clock=FakeClock())
    assert folders.contents(FOO).files[0].relative == "foo-1.0.zip"
    assert folders.listing()[1] == ["foo"]
    with pytest.raises(StoreError):
        folders.contents(BAR)


def failing(number: int, path: str) -> Callable[[str], foldertree.Inside]:
    def list_directory(which: str) -> foldertree.Inside:
        if which.endswith(path):
            raise OSError(number, os.strerror(number))
        return foldertree.list_directory(which)

    return list_directory


def test_a_directory_that_is_not_ours_to_read_is_passed_over(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``lost+found`` is in many folders, and no reason to know nothing."""
    shelf.put("foo-1.0.zip")
    shelf.put("lost/foo-2.0.zip")
    monkeypatch.setattr(folderlistings, "list_directory", failing(13, "lost"))
    assert shelf.seen() == ["foo-1.0.zip"]
    with pytest.raises(NoSuchProject):
        shelf.folders.contents(BAR)
    monkeypatch.setattr(folderlistings, "list_directory", shelf._list)
    assert shelf.seen() == ["foo-1.0.zip"]
    assert shelf.listed == []  # not tried again before it changes
    (shelf.root / "lost").chmod(0o700)
    shelf.tick(shelf.root / "lost")
    assert shelf.seen() == ["foo-1.0.zip", "lost/foo-2.0.zip"]


def test_a_directory_that_fails_keeps_its_files_and_is_tried_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that passes takes nothing away."""
    shelf.put("sub/foo-1.0.zip")
    shelf.seen()
    shelf.put("sub/foo-2.0.zip")
    monkeypatch.setattr(folderlistings, "list_directory", failing(5, "sub"))
    assert shelf.seen() == ["sub/foo-1.0.zip"]
    monkeypatch.setattr(folderlistings, "list_directory", shelf._list)
    assert shelf.seen() == ["sub/foo-1.0.zip", "sub/foo-2.0.zip"]


def test_a_file_that_cannot_be_asked_just_now_is_what_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above."""
    place = shelf.put("foo-1.0.zip", b"12345")
    shelf.seen()
    stat = os.stat

    def sick(path: str, *args: object, **named: object) -> os.stat_result:
        if path == str(place):
            raise OSError(5, "sick")
        return stat(path, *args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", sick)
        assert [file.size for file in shelf.folders.contents(FOO).files] == [5]


def test_a_look_without_the_disk_is_what_the_last_one_saw(shelf: Shelf) -> None:
    """For who must not wait."""
    shelf.put("foo-1.0.zip")
    shelf.seen()
    looked = shelf.looked
    shelf.put("foo-2.0.zip")
    assert len(shelf.folders.contents(FOO, look=False).files) == 1
    assert shelf.looked == looked
    shelf.seen()
    assert len(shelf.folders.contents(FOO, look=False).files) == 2


def test_a_look_without_the_disk_does_not_wait_for_a_sick_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the last listing has failed."""
    shelf.put("foo-1.0.zip")
    shelf.seen()
    shelf.put("foo-2.0.zip")
    monkeypatch.setattr(folderlistings, "list_directory", failing(5, "root"))
    shelf.seen()
    looked = shelf.looked

    assert len(shelf.folders.contents(FOO, look=False).files) == 1
    assert shelf.looked == looked


def test_the_first_question_is_answered_from_the_disk_in_any_case(shelf: Shelf) -> None:
    """Before anything was listed, nothing is known."""
    shelf.put("foo-1.0.zip")
    assert len(shelf.folders.contents(FOO, look=False).files) == 1


@pytest.fixture
def slow(shelf: Shelf) -> Iterator[Shelf]:
    """A tree of 2,000 directories, on a disk where one stat takes a hundredth of a second."""
    for number in range(2000):
        (shelf.root / "all" / f"p{number}").mkdir(parents=True)
    shelf.put("all/p0/foo-1.0.zip")
    shelf.seen()
    shelf.timer.advance(100.0)
    look = Node.look

    def slowly(node: Node) -> Mark | int:
        shelf.timer.advance(0.01)
        return look(node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "look", slowly)
        yield shelf


def test_a_request_looks_at_few_of_very_many_directories(slow: Shelf) -> None:
    """Its own ones come first, the others have their turn."""
    looked = slow.looked
    slow.put("all/p0/foo-2.0.zip")
    assert slow.seen() == ["all/p0/foo-1.0.zip", "all/p0/foo-2.0.zip"]
    assert slow.looked - looked < 100


def test_in_a_huge_tree_a_new_file_is_seen_at_once_where_it_is_likely(slow: Shelf) -> None:
    """In a directory of the project's name, also in a new one; in a root."""
    slow.put("all/bar/bar-1.0.zip")
    slow.put("all/p1999/p1999-1.0.zip")
    slow.put("other-1.0.zip")
    assert slow.seen("bar") == ["all/bar/bar-1.0.zip"]
    assert slow.seen("p1999") == ["all/p1999/p1999-1.0.zip"]
    assert slow.seen("other") == ["other-1.0.zip"]


def test_in_a_huge_tree_a_directory_that_takes_the_place_of_another_is_seen(slow: Shelf) -> None:
    """The one that they lie in has changed, so they are looked at."""
    place = slow.root / "all" / "p1000"
    place.rename(slow.root.with_name("old"))
    slow.root.with_name("new").mkdir()
    (slow.root.with_name("new") / "foo-2.0.zip").touch()
    slow.root.with_name("new").rename(place)
    slow.tick(place.parent)
    assert len(slow.seen()) == 2


def test_in_a_huge_tree_an_unlikely_place_has_its_turn(slow: Shelf) -> None:
    """In requests, or in the round of the worker."""
    slow.put("all/p1000/foo-2.0.zip")
    for _ in range(2000 // 8 + 2):
        slow.timer.advance(10.0)
        slow.seen()
    assert len(slow.seen()) == 2
    slow.put("all/p1500/foo-3.0.zip")
    for _ in range(2000 // 8 + 2):
        slow.folders.refresh(0.001)
    assert len(slow.folders.contents(FOO, look=False).files) == 3


def test_requests_in_quick_succession_do_not_all_look_around(slow: Shelf) -> None:
    """A fifth of the time is enough."""
    looked = slow.looked
    slow.seen()
    first = slow.looked - looked
    slow.seen()
    assert slow.looked - looked == first + 2  # the root, and where the project's file lies


@pytest.fixture
def endless(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A folder with a file, that cannot be listed again in time."""
    shelf.put("foo-1.0.zip")
    shelf.seen()
    listed = threading.Event()

    def slowly(path: str) -> foldertree.Inside:
        assert listed.wait(20.0)
        return foldertree.list_directory(path)

    monkeypatch.setattr(folderlistings, "list_directory", slowly)
    monkeypatch.setattr(folderlistings, "_PATIENCE", 0.0)
    yield shelf
    listed.set()


def test_a_listing_that_takes_too_long_lets_what_is_known_be_served(endless: Shelf) -> None:
    """And goes on. What is not known may be there."""
    endless.put("foo-2.0.zip")
    assert endless.seen() == ["foo-1.0.zip"]
    assert endless.folders.locate("foo-1.0.zip")
    assert endless.folders.locate_at("foo-1.0.zip")
    assert endless.folders.listing()[1] == ["foo"]
    for ask in (
        lambda: endless.folders.contents(BAR),
        lambda: endless.folders.locate("foo-2.0.zip"),
        lambda: endless.folders.locate_at("foo-2.0.zip"),
    ):
        with pytest.raises(StoreError, match="slow to list"):
            ask()


def test_a_worker_lists_again_what_has_no_times_to_go_by(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems of the net make them up."""
    mark = Mark(1, 1, 5, 5)
    monkeypatch.setattr(Node, "look", lambda node: mark)
    shelf.seen()
    shelf.put("foo-1.0.zip")
    assert shelf.seen() == []
    shelf.timer.advance(400.0)
    shelf.folders.refresh(1.0)
    assert shelf.seen() == ["foo-1.0.zip"]


def test_a_hint_is_looked_at(shelf: Shelf) -> None:
    """Of a file or a directory; one that is not known is no fault."""
    shelf.put("sub/foo-1.0.zip")
    shelf.seen()
    shelf.folders.touched()
    place = shelf.put("sub/foo-2.0.zip")
    shelf.folders.hint([str(place), str(shelf.root / "no" / "where"), "/etc"])
    assert len(shelf.folders.contents(FOO, look=False).files) == 2
    assert shelf.folders.touched() == ["foo"]
    assert shelf.folders.touched() == []


def test_projects_that_have_changed_are_told_once(shelf: Shelf) -> None:
    """So that somebody reads their files."""
    place = shelf.put("foo-1.0.zip")
    shelf.put("bar-1.0.zip")
    shelf.seen()
    assert sorted(shelf.folders.touched()) == ["bar", "foo"]
    shelf.seen()
    assert shelf.folders.touched() == []
    place.write_bytes(b"other")
    shelf.seen()
    assert shelf.folders.touched() == ["foo"]
    shelf.remove("bar-1.0.zip")
    shelf.seen()
    assert shelf.folders.touched() == ["bar"]


def test_the_listing_changes_its_stamp_with_the_projects_only(shelf: Shelf) -> None:
    """It is rendered once a change."""
    shelf.put("foo-1.0.zip")
    stamp, names = shelf.folders.listing()
    assert names == ["foo"]
    shelf.put("foo-2.0.zip")
    assert shelf.folders.listing()[0] == stamp
    shelf.put("bar-1.0.zip")
    after, names = shelf.folders.listing()
    assert sorted(names) == ["bar", "foo"]
    assert after != stamp


def test_many_threads_see_what_came_before_they_asked(tmp_path: Path) -> None:
    """Whoever makes the listing, and whatever is copied meanwhile."""
    root = tmp_path / "root"
    root.mkdir()
    folders = Folders([root], clock=FakeClock())
    stop = threading.Event()

    def copy(who: int) -> int:
        for number in range(30):
            name = f"p{who}-{number}.zip"
            place = root / name if number % 2 else root / f"d{who}-{number}" / name
            place.parent.mkdir(exist_ok=True)
            place.touch()
            found = {file.filename for file in folders.contents(project(f"p{who}")).files}
            assert found == {f"p{who}-{n}.zip" for n in range(number + 1)}
            if number % 5 == 4:
                assert folders.locate(name).path == str(place)
        return who

    def ask() -> None:
        while not stop.is_set():
            folders.listing()
            list(folders.everything())

    with ThreadPoolExecutor(9) as pool:
        asking = pool.submit(ask)
        done = [copying.result(60) for copying in [pool.submit(copy, who) for who in range(8)]]
        stop.set()
        asking.result(60)
    assert done == list(range(8))
    assert folders.count == 240
