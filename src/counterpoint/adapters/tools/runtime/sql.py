"""The `sql` tool at work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from counterpoint.adapters.tools.runtime import databases, statements
from counterpoint.adapters.tools.runtime.databases import Row
from counterpoint.adapters.tools.runtime.output import Failed, answering, say, write
from counterpoint.adapters.tools.runtime.templates import Values


@answering
def run(**arguments: Any) -> None:
    """Run the statements, in one transaction unless told otherwise: a failure leaves nothing half done."""
    spec = arguments["spec"]
    texts = list(statements.split(spec["sql"] if "sql" in spec else _read(spec["file"])))
    if not texts:
        raise Failed("at least one statement was expected, none was found")
    address = Values(arguments).fill(spec["database"])
    row = Row((), None)
    with databases.connect(address, params=spec.get("params", {}), readonly=False) as session:
        if spec["transaction"]:
            session.execute("begin")
        for number, statement in enumerate(texts, start=1):
            started = time.monotonic()
            row = session.execute(statement)
            say(f"statement {number} of {len(texts)}: done in {time.monotonic() - started:.2f}s")
        if spec["transaction"]:
            session.execute("commit")
    if spec.get("fetch"):
        write("result", data=row.as_dict())
    if "asset" in spec:
        write("asset", asset=spec["asset"], metadata=row.as_dict())


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{file}: {error}") from error
