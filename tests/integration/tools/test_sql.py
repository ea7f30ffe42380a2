"""`sql`, `check` and `wait` against real databases: DuckDB, SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_number = count(1)


class SqlTools:
    """What holds on each database; tests use tables of their own, as those on PostgreSQL share one."""

    #: A number that JSON does not have.
    no_json = "cast('nan' as double precision)"

    @pytest.fixture
    def table(self) -> str:
        return f"orders_{next(_number)}"

    @pytest.fixture
    def orders(self, perform: Any, database: str, table: str) -> str:
        """A table with three rows; one has no amount."""
        done = perform(
            "sql",
            {
                "sql": f"create table {table} (id integer, amount decimal(9, 2), day date);"
                f"insert into {table} values (1, 10.5, '2026-01-01'), (2, 20, '2026-01-02'),"
                "(3, null, '2026-01-02')",
                "database": database,
            },
        )
        assert done.state == "done", done.detail
        return table

    def test_the_last_statements_row_becomes_result_and_metadata(
        self, perform: Any, database: str, orders: str
    ) -> None:
        answer = perform(
            "sql",
            {
                "sql": f"update {orders} set amount = 30 where id = 3;"
                f"select count(*) as n, max(amount) as top from {orders};",
                "database": database,
                "fetch": True,
                "asset": "raw.orders",
            },
        )

        assert answer.state == "done"
        assert answer.result == {"n": 3, "top": 30}
        assert [(report.asset, report.metadata) for report in answer.reports] == [
            ("raw.orders", {"n": 3, "top": 30})
        ]

    def test_parameters_stand_by_name_in_each_database(self, perform: Any, database: str, orders: str) -> None:
        env = {"COUNTERPOINT_PARAMS": '{"low": 15}', "COUNTERPOINT_PARTITION": "2026-01-02"}
        where = "amount > $low and amount < $high and day = $partition"
        node = {
            "sql": f"select '$low; --' as t, count(*) as n from {orders} where {where} -- $x;",
            "database": database,
        }

        answer = perform("sql", node | {"fetch": True, "params": {"low": 1000, "high": 100}}, env=env)
        missing = perform("sql", node, env=env)

        assert answer.result == {"t": "$low; --", "n": 1}, "the run's own parameters come before the score's"
        assert (missing.state, missing.failure) == ("failed", "error")
        assert "$high was expected" in missing.detail

    def test_a_failure_leaves_nothing_half_done(self, perform: Any, database: str, orders: str) -> None:
        wrong = {"sql": f"delete from {orders}; select nothing from nowhere_at_all", "database": database}

        failed = perform("sql", wrong)
        left = perform("sql", {"sql": f"select count(*) as n from {orders}", "database": database, "fetch": True})

        assert (failed.state, failed.failure) == ("failed", "error")
        assert "nowhere_at_all" in failed.detail
        assert left.result == {"n": 3}

    def test_without_a_transaction_each_statement_stays(self, perform: Any, database: str, orders: str) -> None:
        sql = f"delete from {orders} where id = 1; select nothing from nowhere_at_all"

        perform("sql", {"sql": sql, "database": database, "transaction": False})
        left = perform("sql", {"sql": f"select count(*) as n from {orders}", "database": database, "fetch": True})

        assert left.result == {"n": 2}

    def test_statements_come_from_a_file_too(
        self, perform: Any, database: str, orders: str, tmp_path: Path
    ) -> None:
        (tmp_path / "look.sql").write_text(
            f"-- all of them;\nselect count(*) as n from {orders};\n-- end", "utf-8"
        )

        found = perform("sql", {"file": "look.sql", "database": database, "fetch": True})
        missing = perform("sql", {"file": "nothing.sql", "database": database})

        assert found.result == {"n": 3}
        assert (missing.state, missing.failure) == ("failed", "error")

    def test_a_gate_compares_one_value(self, perform: Any, database: str, orders: str) -> None:
        node = {"sql": f"select count(*) from {orders}", "database": database, "name": "enough"}

        passed = perform("check", node | {"expect": "between 1 and 5"})
        failed = perform("check", node | {"expect": "> 3"})
        warned = perform("check", node | {"expect": "> 3", "on_fail": "warn"})

        assert passed.state == "done"
        assert passed.verdicts[0]["found"] == 3
        assert (failed.state, failed.failure) == ("failed", "check")
        assert failed.detail == "enough: expected > 3, found 3"
        assert warned.state == "done"
        assert warned.verdicts[0]["passed"] is False

    @pytest.mark.usefixtures("orders")
    def test_a_gate_stays_shut_for_a_number_that_json_does_not_have(self, perform: Any, database: str) -> None:
        answer = perform("check", {"sql": f"select {self.no_json}", "database": database, "expect": "= 10"})
        row = perform("sql", {"sql": f"select {self.no_json} as x", "database": database, "fetch": True})

        assert (answer.state, answer.failure) == ("failed", "check")
        assert answer.verdicts[0]["found"] == row.result["x"] in ("nan", "inf")

    @pytest.mark.usefixtures("orders")
    def test_a_gate_stays_shut_for_a_text_of_any_length(self, perform: Any, database: str) -> None:
        long = f"select '{'x' * 2_000_000}'"

        answer = perform("check", {"sql": long, "database": database, "expect": "= ok", "name": "long"})

        assert (answer.state, answer.verdicts[0]["found"]) == ("failed", "x" * 1000)

    def test_a_gate_looks_at_rows_columns_and_ranges(self, perform: Any, database: str, orders: str) -> None:
        node = {
            "table": orders,
            "database": database,
            "rows": ">= 3",
            "columns": ["id", "amount", "customer"],
            "not_null": ["id", "amount"],
            "unique": ["id", "day", ["id", "day"]],
            "ranges": {"amount": "0..15", "day": ">= 2026-01-01"},
        }

        answer = perform("check", node)

        found = {verdict["check"].removeprefix(orders).strip(): verdict["passed"] for verdict in answer.verdicts}
        assert found == {
            "exists": True,
            "columns": False,
            "rows": True,
            ".id not null": True,
            ".amount not null": False,
            ".id unique": True,
            ".day unique": False,
            ".id+day unique": True,
            ".amount range": False,
            ".day range": True,
        }
        assert (answer.state, answer.failure) == ("failed", "check")
        assert f"{orders}.amount range: expected 0..15, found 1 outside, 10.5 to 20" in answer.detail
        assert f"{orders} columns: expected id, amount, customer, found no customer" in answer.detail

    def test_a_gate_may_look_at_a_part_of_a_table(self, perform: Any, database: str, orders: str) -> None:
        node = {
            "table": orders,
            "database": database,
            "where": "day = $partition or 1 = 2",
            "rows": 1,
            "unique": "day",
        }

        answer = perform("check", node, env={"COUNTERPOINT_PARTITION": "2026-01-01"})

        assert answer.state == "done"

    def test_a_table_that_is_not_there_is_a_finding(self, perform: Any, database: str, orders: str) -> None:
        answer = perform("check", {"table": "nowhere_at_all", "database": database, "rows": "> 0"})

        assert (answer.state, answer.failure) == ("failed", "check")
        assert [verdict["passed"] for verdict in answer.verdicts] == [False]

    def test_a_gate_never_changes_what_it_looks_at(self, perform: Any, database: str, orders: str) -> None:
        answer = perform("check", {"sql": f"delete from {orders}", "database": database, "expect": "> 0"})

        assert (answer.state, answer.failure) == ("failed", "error")

    def test_a_wait_ends_when_the_value_is_there(self, perform: Any, database: str, orders: str) -> None:
        node = {"sql": f"select count(*) from {orders} where id > 3", "database": database, "every": "7s"}

        before = perform("wait", node)
        perform("sql", {"sql": f"insert into {orders} values (4, 1, null)", "database": database})
        after = perform("wait", node, look=1, carry=before.carry)

        assert (before.state, before.look_after_s) == ("not-yet", 7.0)
        assert before.detail == "> 0 was expected, 0 was found"
        assert after.state == "done"

    def test_a_wait_for_a_wrong_query_fails_rather_than_wait_for_ever(
        self, perform: Any, database: str, orders: str
    ) -> None:
        answer = perform("wait", {"sql": "select nothing from nowhere_at_all", "database": database})

        assert (answer.state, answer.failure) == ("failed", "error")


class TestDuckDB(SqlTools):
    @pytest.fixture
    def database(self) -> str:
        return "shop.duckdb"


class TestSQLite(SqlTools):
    no_json = "9e999"

    @pytest.fixture
    def database(self) -> str:
        return "shop.sqlite"


class TestPostgres(SqlTools):
    @pytest.fixture
    def database(self, postgres_server: str) -> str:
        return postgres_server

    def test_a_function_is_called_for_each_row(self, perform: Any, database: str, table: str) -> None:
        sql = f"create sequence {table}_seq; select nextval('{table}_seq') from generate_series(1, 5)"
        perform("sql", {"sql": sql, "database": database})

        node = {"sql": f"select last_value as n from {table}_seq", "database": database, "fetch": True}

        assert perform("sql", node).result == {"n": 5}


@pytest.mark.parametrize("address", ["none.duckdb", "none.sqlite", "postgresql://u:pw-canary@127.0.0.1:9/x"])
def test_a_database_that_is_away_is_waited_for_and_fails_a_gate(perform: Any, address: str) -> None:
    waits = perform("wait", {"sql": "select 1", "database": {"secret": "DB"}}, secrets={"DB": address})
    fails = perform("check", {"table": "t", "database": {"secret": "DB"}}, secrets={"DB": address})

    assert waits.state == "not-yet"
    assert (fails.state, fails.failure) == ("failed", "error")
    assert "canary" not in waits.detail + fails.detail


def test_a_sqlite_trigger_keeps_its_semicolons(perform: Any, tmp_path: Path) -> None:
    sql = """
        create table a (x); create table b (x);
        create trigger t after insert on a begin insert into b values (new.x); insert into b values (2); end;
        insert into a values (1);
    """

    answer = perform("sql", {"sql": sql, "database": "t.sqlite"})

    assert answer.state == "done", answer.detail
    with sqlite3.connect(tmp_path / "t.sqlite") as connection:
        assert connection.execute("select count(*) from b").fetchone() == (2,)
    connection.close()
