"""Laws of ranges and tags that hold for any header."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devpi_server.web.conditional import UNSATISFIABLE, is_held_by_client, span

sizes = st.integers(0, 10**12)
numbers = st.integers(0, 10**14)
tags = st.text("0123456789abcdef-", min_size=1, max_size=64)
ranges = st.one_of(
    st.text(max_size=30),
    st.builds("bytes={}-{}".format, numbers, numbers),
    st.builds("bytes={}-".format, numbers),
    st.builds("bytes=-{}".format, numbers),
    st.text("bytes=-0123456789, ", max_size=20).map("bytes={}".format),
)


@given(ranges, sizes)
def test_a_span_lies_within_the_file(header: str, size: int) -> None:
    """Never empty, never beyond the end, whatever is asked for."""
    found = span(header, None, "tag", size)
    if found is not None and found is not UNSATISFIABLE:
        assert 0 <= found.start < found.stop <= size


@given(numbers, numbers, sizes)
def test_a_span_is_what_was_asked_for(first: int, last: int, size: int) -> None:
    """``bytes=a-b`` of a sequence is what slicing gives."""
    found = span(f"bytes={first}-{last}", None, "tag", size)
    if first > last:
        assert found is None
    elif first >= size:
        assert found is UNSATISFIABLE
    else:
        assert found == (first, min(last + 1, size))


@given(st.integers(1, 10**14), st.integers(1, 10**12))
def test_a_suffix_ends_with_the_file(count: int, size: int) -> None:
    """``bytes=-n`` are the last n bytes, or all of them."""
    found = span(f"bytes=-{count}", None, "tag", size)
    assert found is not None
    assert found.stop == size
    assert found.stop - found.start == min(count, size)


@given(ranges, st.text(max_size=20), tags, sizes)
def test_another_version_is_sent_whole(header: str, if_range: str, tag: str, size: int) -> None:
    """If-Range with anything but the tag itself leaves no range."""
    if if_range.strip() != f'"{tag}"':
        assert span(header, if_range, tag, size) is None


@given(tags, st.lists(tags, max_size=5), st.sampled_from([", ", ",", " ,\t"]), st.data())
def test_a_tag_is_found_in_any_list(
    tag: str, others: list[str], comma: str, data: st.DataObject
) -> None:
    """Wherever it stands, weak or strong."""
    listed = [f'"{other}"' for other in others if other != tag]
    assert not is_held_by_client(comma.join(listed), tag)
    at = data.draw(st.integers(0, len(listed)))
    listed.insert(at, data.draw(st.sampled_from(['"{}"', 'W/"{}"'])).format(tag))
    assert is_held_by_client(comma.join(listed), tag)


@given(st.text(), tags)
def test_no_condition_is_an_error(header: str, tag: str) -> None:
    """A client that holds nothing like the tag gets the answer."""
    if tag not in header and header.strip() != "*":
        assert not is_held_by_client(header, tag)
