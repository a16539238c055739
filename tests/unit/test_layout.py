"""Columns follow from the set of events: names, order, types, the limit."""

from __future__ import annotations

from xetrack.log.cells import BOOL, FLOAT, INT, TEXT
from xetrack.tables.layout import Column, KeyFacts, arrange, keeps_cells


def facts(*keys: str, mask: int = INT) -> dict[str, KeyFacts]:
    return {key: KeyFacts(mask, (index, "w", index, 0)) for index, key in enumerate(keys)}


def test_columns_stand_in_the_order_of_first_appearance() -> None:
    later_first = {"b": KeyFacts(INT, (5, "w", 1, 1)), "a": KeyFacts(INT, (5, "w", 1, 0))}
    assert [column.key for column in arrange(later_first, 9)] == ["a", "b"]


def test_keys_that_differ_in_case_get_columns_of_their_own() -> None:
    assert [column.name for column in arrange(facts("loss", "Loss", "LOSS"), 9)] == ["loss", "Loss_2", "LOSS_3"]


def test_keys_that_normalise_alike_get_columns_of_their_own() -> None:
    assert [column.name for column in arrange(facts("a b", "a_b", "a.b"), 9)] == ["a_b", "a_b_2", "a_b_3"]


def test_a_suffix_never_lands_on_a_key_that_has_the_name() -> None:
    assert [column.name for column in arrange(facts("a", "a_2", "A"), 9)] == ["a", "a_2", "A_3"]


def test_names_of_the_tables_own_columns_are_taken() -> None:
    names = [column.name for column in arrange(facts("Timestamp", "_rowid_", "rowid"), 9)]
    assert names == ["Timestamp_2", "_rowid__2", "rowid"]


def test_keys_past_the_limit_are_not_stored_as_columns() -> None:
    assert [column.stored for column in arrange(facts("a", "b", "c"), 2)] == [True, True, False]


def test_only_exact_changes_keep_cells() -> None:
    assert keeps_cells("int", "float") and keeps_cells("bool", "int") and keeps_cells("null", "text")
    assert not keeps_cells("int", "text") and not keeps_cells("float", "text") and not keeps_cells("int", "bigint")


def test_a_type_is_the_join_of_all_flags() -> None:
    joined = arrange({"x": KeyFacts(BOOL | INT | FLOAT, (0, "w", 0, 0)), "y": KeyFacts(INT | TEXT, (1, "w", 0, 0))}, 9)
    assert joined == [Column("x", "x", "float"), Column("y", "y", "text")]
