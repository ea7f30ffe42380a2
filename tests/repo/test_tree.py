"""What must hold of the files themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_IGNORED = {
    ".git",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
}


def _tracked() -> list[Path]:
    """The files of the checkout: git's where there is git, else what does not look made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return [path for name in names if name and (path := ROOT / name).is_file()]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not _IGNORED.intersection(path.relative_to(ROOT).parts) and "out" not in path.parts
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_file_holds_an_address_of_a_registry_or_a_path_of_a_machine() -> None:
    # In pieces, so that this file does not find itself.
    registries = ("files.python" + "hosted.org", "pypi" + ".org/simple", "index" + "-url", "registry" + ".npmjs")
    homes = re.compile(r"(?:^|[\s\"'=(])/(?:home|Users|root|work)/[\w.]")
    for path in _tracked():
        text = _text(path)
        name = path.relative_to(ROOT)

        assert not [registry for registry in registries if registry in text], (
            f"{name} has an address of a registry"
        )
        assert homes.search(text) is None, f"{name} has a path of a machine: {homes.search(text)}"


def test_nothing_is_locked_to_addresses() -> None:
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pylock.toml"}

    assert [path for path in _tracked() if path.name in locks] == []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line), (
            f"constraints.txt: a name and a version were expected, {line!r}"
        )


def test_every_dependency_is_pinned_and_says_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    pinned = {
        _normal(line.split("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }

    for requirement in project["dependencies"]:
        name = re.split(r"[\[<>=;~! ]", requirement)[0]
        assert re.search(rf'"{re.escape(name)}.*#', text), f"{name} says no reason"
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        name, _, marker = requirement.partition(";")
        name = _normal(re.split(r"[\[<>=~! ]", name)[0])
        assert marker or name in pinned or name == "counterpoint", f"constraints.txt has no {name}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_error_for_a_missing_extra_names_one_that_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [
        (path, extra)
        for path in (ROOT / "src").rglob("*.py")
        for extra in re.findall(r"MissingExtra\([^)]*?\"(\w+)\"\)", path.read_text())
    ]

    assert named
    assert [(path, extra) for path, extra in named if extra not in extras] == []


def test_tests_are_found_by_their_names_alone() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("module", "without"),
    [
        (
            "counterpoint.entrypoints.cli.main",
            (
                "rich",
                "starlette",
                "uvicorn",
                "msgspec",
                "yaml",
                "asyncpg",
                "duckdb",
                "cel",
                "jsonschema_rs",
                "asyncio",
                "sqlite3",
                "counterpoint.tables",
            ),
        ),
        ("counterpoint.adapters.tools.runtime.http", ("msgspec", "asyncio", "counterpoint.tables")),
        ("counterpoint", ("msgspec", "yaml", "click", "asyncio")),
        ("counterpoint.sdk", ("msgspec", "yaml", "click", "asyncio", "counterpoint.kernel", "counterpoint.model")),
        ("counterpoint.kernel.step", ("asyncio", "cel", "yaml", "jsonschema_rs", "sqlite3", "logging")),
        ("counterpoint.bootstrap", ("duckdb", "asyncpg", "dbt", "cel", "jsonschema_rs", "rich", "starlette")),
        (
            "counterpoint.adapters.executors.process.host",
            ("asyncio", "msgspec", "json.tool", "logging", "typing"),
        ),
    ],
)
def test_an_import_stays_light(module: str, without: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    # -S: what the environment's own start imports is not ours to answer for.
    paths = [str(ROOT / "src"), *(path for path in sys.path if "site-packages" in path)]
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": ":".join(paths)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert [name for name in without if name in loaded] == []


def test_the_worker_host_loads_few_modules() -> None:
    code = "import sys, counterpoint.adapters.executors.process.host; print(len(sys.modules))"
    count = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert int(count) <= 110, "it starts in the time of one attempt"


def test_the_wheel_has_all_it_needs(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in _tracked()
        if path.is_relative_to(ROOT / "src") and "__pycache__" not in path.parts and path.suffix in (".py", ".sql")
    }

    assert sources - names == set()
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if name.startswith(("tests", "bench", "docs", "examples"))]
