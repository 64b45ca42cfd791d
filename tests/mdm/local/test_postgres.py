"""The embedded Postgres keeps what it has confirmed, whatever happens to its processes."""

from __future__ import annotations

from pathlib import Path

import psycopg

from mdm.local import postgres


def test_a_database_answers_over_the_unix_socket(parts: Path) -> None:
    with psycopg.connect(postgres.url(parts)) as connection:
        row = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
    assert row == ("",)
