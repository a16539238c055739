"""The connection of SQLite tables: what the package runs on it, and Ctrl-C."""

from __future__ import annotations

import sqlite3

import pytest

from xetrack.tables.sqlite_door import TablesConnection


def test_ctrl_c_while_sqlite_asks_for_leave_is_an_interrupt_not_a_refusal() -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    conn = sqlite3.connect(":memory:", isolation_level=None, factory=TablesConnection)
    conn.set_authorizer(interrupted)
    with pytest.raises(KeyboardInterrupt):
        conn.run("SELECT 1")
    conn.close()
