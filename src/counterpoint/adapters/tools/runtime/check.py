"""The `check` tool at work: every check is carried out, and each finding is a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from counterpoint.adapters.tools import expectation
from counterpoint.adapters.tools.runtime import databases, files
from counterpoint.adapters.tools.runtime.databases import Session
from counterpoint.adapters.tools.runtime.output import Failed, answering, say, write
from counterpoint.adapters.tools.runtime.templates import Values

#: What was looked at, whether it is as it should be, what was expected, what was found.
Finding = tuple[str, bool, Any, Any]

#: How much of a text that was found is told; the host takes no line of more than 1 MiB.
_FOUND_MAX = 1000


@answering
def run(**arguments: Any) -> None:
    """Carry out all checks; `lines.read_lines` fails the task if a verdict asks for it."""
    values = Values(arguments)
    for check in arguments["spec"]["checks"]:
        for name, passed, expected, value in _findings(check, values):
            found = value[:_FOUND_MAX] if isinstance(value, str) else value
            write("verdict", check=name, passed=passed, expected=expected, found=found, on_fail=check["on_fail"])
            mark = "passed" if passed else "FAILED" if check["on_fail"] == "halt" else "warned"
            say(f"{mark}  {name}: expected {expected}, found {found}")


def _findings(check: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    if "file" in check:
        pattern = values.fill(check["file"])
        passed, found = files.find(check, pattern)
        yield check.get("name", f"file {pattern}"), passed, files.expected(check, pattern), found
        return
    address = values.fill(check["database"])
    with databases.connect(address, params=check.get("params", {}), readonly=True) as session:
        yield from _query(check, session) if "sql" in check else _table(check, session)


def _query(check: Mapping[str, Any], session: Session) -> Iterator[Finding]:
    found = session.execute(check["sql"].rstrip().rstrip(";")).first
    expected = expectation.parse(check["expect"])
    name = check.get("name") or " ".join(check["sql"].split())[:80]
    yield name, expected.holds(found), expected.text, found


def _table(check: Mapping[str, Any], session: Session) -> Iterator[Finding]:
    table, name = check["table"], check.get("name", check["table"])
    try:
        columns = session.execute(f"select * from {table} limit 0").columns  # noqa: S608 - a name, checked by pattern
    except Failed as error:
        yield f"{name} exists", False, "a table", error.detail
        return
    yield f"{name} exists", True, "a table", f"{len(columns)} columns"
    if "columns" in check:
        known = {column.lower() for column in columns}
        missing = [column for column in check["columns"] if _bare(column) not in known]
        wanted = ", ".join(check["columns"])
        yield f"{name} columns", not missing, wanted, f"no {', '.join(missing)}" if missing else wanted
    rows = f"from {table} where ({check.get('where', '1 = 1')})"

    def count(what: str) -> Any:
        return session.execute(f"select {what} {rows}").first

    if "rows" in check:
        expected = expectation.parse(check["rows"])
        found = count("count(*)")
        yield f"{name} rows", expected.holds(found), expected.text, found
    for column in check.get("not_null", ()):
        nulls = count(f"count(*) - count({column})")
        yield f"{name}.{_bare(column)} not null", nulls == 0, "0 nulls", f"{nulls} nulls"
    for key in check.get("unique", ()):
        parts = key if isinstance(key, list) else [key]
        yield _unique(name, parts, rows, session)
    for column, text in check.get("ranges", {}).items():
        expected = expectation.parse(text)
        # A condition over null is null, so the sum leaves nulls out.
        outside = count(
            f"coalesce(sum(case when {expected.sql(column)} then 0 when {column} is null then 0 else 1 end), 0)"
        )
        low, high = count(f"min({column})"), count(f"max({column})")
        yield f"{name}.{_bare(column)} range", outside == 0, expected.text, f"{outside} outside, {low} to {high}"


def _unique(name: str, parts: list[str], rows: str, session: Session) -> Finding:
    columns = ", ".join(parts)
    filled = "".join(f" and {part} is not null" for part in parts)
    grouped = f"select count(*) as n {rows}{filled} group by {columns} having count(*) > 1"
    repeated = session.execute(f"select count(*) from ({grouped}) as repeated").first  # noqa: S608
    shown = "+".join(_bare(part) for part in parts)
    return f"{name}.{shown} unique", repeated == 0, "0 repeated", f"{repeated} repeated"


def _bare(column: str) -> str:
    return column.strip('"').lower()
