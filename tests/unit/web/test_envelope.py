"""What devpi-client reads (devpi.md 1.0)."""

from __future__ import annotations

from devpi_server.web import envelope


def test_a_result_comes_with_its_kind() -> None:
    answer = envelope.answer("indexconfig", {"bases": []}, message="made")

    assert answer.status_line == "200 OK"
    assert answer.body == (
        b'{\n  "type": "indexconfig",\n  "result": {\n    "bases": []\n  },\n'
        b'  "message": "made"\n}\n'
    )
    assert answer.get_header("Content-Length") == str(len(answer.body))


def test_a_key_that_has_nothing_to_say_is_not_there() -> None:
    assert b"message" not in envelope.answer("indexconfig", {}).body
    assert envelope.message("index a/b deleted", 201).body == (
        b'{\n  "message": "index a/b deleted"\n}\n'
    )


def test_the_content_type_is_the_one_that_the_client_compares_with() -> None:
    """Exactly: with a charset it takes the answer for no JSON."""
    assert envelope.answer("indexconfig", {}).content_type == "application/json"


def test_a_message_is_the_reason_phrase_too() -> None:
    assert envelope.message("index a/b\ndeleted", 201).status_line == "201 index a/b deleted"
