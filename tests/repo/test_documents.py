"""The documents say what is true of the tree."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "bench/README.md",
        *ROOT.glob("examples/*/README.md"),
    ]
)
SOURCES = sorted((ROOT / "src").rglob("*.py"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_KEBAB = re.compile(r"[a-z]+(-[a-z]+)*")


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _headings(document: Path) -> set[str]:
    """Anchors of a document, as they are made from its headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document

        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in _headings(target), f"{link}: there is no such heading"


def test_generated_pages_are_as_the_code_says() -> None:
    for name, content in _generator().pages().items():
        page = ROOT / "docs/reference" / name

        assert page.read_text() == content, f"{name} is not what the code says; `make docs` writes it"


def test_every_invariant_names_a_test_that_exists() -> None:
    text = (ROOT / "docs/invariants.md").read_text()
    invariants = (
        re.split(r"^##+ ", text, flags=re.MULTILINE)[1:] or re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
    )
    tests = {
        node.name: path
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    } | {
        node.name: path
        for path in (ROOT / "src/counterpoint/testing").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }

    assert len(invariants) >= 7
    for invariant in invariants:
        functions = re.findall(r"\btest_\w+(?!\w|\.py|/)", re.sub(r"[\w/]*test_\w+\.py", "", invariant))
        files = re.findall(r"(?:tests|src)/[\w/]+\.\w+", invariant)
        title = invariant.splitlines()[0]

        assert functions or files, f"{title!r} names no test"
        for function in functions:
            assert function in tests, f"{title!r} names {function}, which is nowhere"
        for file in files:
            assert (ROOT / file).exists(), f"{title!r} names {file}, which is not there"


def _codes() -> Iterator[tuple[str, str]]:
    """(code, place) of every error that the source can raise. Reasons of the kernel are no errors."""
    for path in SOURCES:
        if "kernel" in path.parts or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for value in _code_values(node):
                for each in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
                    if (
                        isinstance(each, ast.Constant)
                        and isinstance(each.value, str)
                        and _KEBAB.fullmatch(each.value)
                    ):
                        yield each.value, f"{_named(path)}:{each.lineno}"


def _code_values(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=func, args=args, keywords=keywords):
            yield from (keyword.value for keyword in keywords if keyword.arg == "code")
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name in ("refuse", "add", "warn") and len(args) > 2:
                yield args[-1]
        case ast.Assign(targets=[ast.Name(id="code")], value=value):
            yield value


def test_every_code_of_an_error_is_documented() -> None:
    documented = set(
        re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
    )
    raised = dict(_codes())

    assert {code: place for code, place in raised.items() if code not in documented} == {}
    assert documented - raised.keys() == set(), "documented, and nothing raises it"


def test_the_glossary_has_the_words() -> None:
    words = (
        "Score", "Plan", "Pipeline", "Task", "Asset", "Event", "Subscription", "Item", "Pool", "Run", "Attempt",
        "Partition", "Checkpoint", "Check", "Fact", "Journal", "View", "State", "Snapshot", "Kernel", "Engine",
        "Worker host", "Port", "Adapter", "Lane", "Shape", "Suspect", "Lost", "Epoch", "Trigger", "Pin", "Hop",
    )  # fmt: skip
    glossary = (ROOT / "docs/glossary.md").read_text()

    assert [word for word in words if f"**{word}**" not in glossary and f"**{word}.**" not in glossary] == []


def test_the_verbs_of_the_makefile_that_documents_use_exist() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for verb in re.findall(r"(?:`|^)make ([a-z]+)", document.read_text(), re.MULTILINE):
            assert verb in verbs, f"{_named(document)} says `make {verb}`"


def test_the_verbs_of_the_command_line_that_documents_use_exist() -> None:
    from counterpoint.entrypoints.cli.main import cli

    for document in DOCUMENTS:
        for verb in re.findall(r"(?:`|^|\$ )counterpoint ([a-z][a-z-]*)", document.read_text(), re.MULTILINE):
            assert verb in cli.commands, f"{_named(document)} says `counterpoint {verb}`"


def test_files_of_ours_that_documents_name_exist() -> None:
    places = (ROOT, ROOT / "src/counterpoint")
    pattern = re.compile(
        r"`((?:\w+/)+\w+\.(?:py|md|sql|toml|yaml)|(?:src|tests|docs|kernel|engine|adapters|ports|model)/[\w/]+/)`"
    )
    for document in DOCUMENTS:
        if "examples" in document.parts:
            continue
        for name in pattern.findall(document.read_text()):
            assert any((place / name).exists() for place in places), f"{_named(document)} names {name}"


def test_scores_in_documents_are_accepted(tmp_path: Path) -> None:
    from counterpoint.bootstrap import tools
    from counterpoint.engine.declare import declare

    found = 0
    for document in DOCUMENTS:
        for number, block in enumerate(
            re.findall(r"^```yaml\n(score: .*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
        ):
            folder = tmp_path / f"{document.stem}-{number}"
            folder.mkdir()
            score = folder / "score.yaml"
            score.write_text(block)

            declare((score,), tools())
            found += 1

    assert found, "the README shows a score"


def test_python_in_documents_can_be_compiled() -> None:
    for document in DOCUMENTS:
        for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
            compile(block, _named(document), "exec")


def test_python_names_of_ours_that_documents_use_exist() -> None:
    for document in DOCUMENTS:
        for module, names in re.findall(
            r"^from (counterpoint[\w.]*) import ([\w, ]+)$", document.read_text(), re.MULTILINE
        ):
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), f"{module} has no {name}"


def test_every_variable_that_a_task_is_given_is_documented() -> None:
    given = set()
    for path in ("engine/dispatch.py", "adapters/executors/process/attempts.py"):
        given |= set(re.findall(r"\"(COUNTERPOINT_[A-Z_]+)\"", (ROOT / "src/counterpoint" / path).read_text()))
    page = (ROOT / "docs/reference/tasks.md").read_text()

    assert len(given) > 10
    assert [name for name in sorted(given - {"COUNTERPOINT_SECRET_"}) if f"`{name}`" not in page] == []
