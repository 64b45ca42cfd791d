"""Secrets in paths do not reach the log."""

from __future__ import annotations

from mdm.logs import hide_after, mask_paths

hide_after("/invite/")


def test_the_secret_part_of_a_path_is_masked_wherever_it_stands() -> None:
    line = {
        "event": "Not Found: /invite/s3cret/",
        "request": "GET /invite/s3cret/file?x=1",
        "path": "/invite/s3cret",
        "exception": 'Traceback: no view for "/invite/s3cret"',
    }
    assert mask_paths(None, "info", dict(line)) == {
        "event": "Not Found: /invite/***/",
        "request": "GET /invite/***/file?x=1",
        "path": "/invite/***",
        "exception": 'Traceback: no view for "/invite/***"',
    }


def test_the_longest_prefix_says_where_the_secret_is() -> None:
    hide_after("/door/")
    hide_after("/door/back/")
    masked = mask_paths(None, "info", {"event": "/door/back/s3cret/ and /door/s3cret"})
    assert "s3cret" not in masked["event"]


def test_other_lines_stay_as_they_are() -> None:
    line = {"event": "GET /devices/17/", "request": None, "code": 200}
    assert mask_paths(None, "info", dict(line)) == line
