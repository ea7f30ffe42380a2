"""`dbt`: a real dbt-core invocation; its nodes become results, verdicts and asset versions."""

from __future__ import annotations

from counterpoint.adapters.tools.settings import text
from counterpoint.adapters.tools.translation import LineTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Anything, Choice, Flag, Integer, ListOf, MapOf
from counterpoint.tables.records import Key, Record

_NODES = ListOf(text("+gmv", "a selection as dbt writes it"), filled=True, single=True)


class DbtTool(LineTool):
    """Runs dbt in a fork of a process that has dbt loaded, which saves seconds per invocation."""

    name = "dbt"
    settings = Record(
        "tool dbt",
        "A real invocation of dbt. What it says of its tests becomes verdicts, of its models versions of assets.",
        Key("project", text("warehouse", "the path of a folder"), "Folder of the dbt project.", required=True),
        Key(
            "command",
            Choice("build", "run", "test", "seed", "snapshot", "compile", "deps"),
            "What dbt does.",
            default="build",
        ),
        Key("select", _NODES, "Nodes to select.", otherwise="all"),
        Key("exclude", _NODES, "Nodes to leave out.", otherwise="none"),
        Key(
            "vars",
            MapOf(text("day", "a name"), Anything()),
            "Variables; `{partition}` and `{params.NAME}` in texts are filled in.",
        ),
        Key(
            "target",
            text("dev", "the name of a target"),
            "Which target of the profile.",
            otherwise="the profile's",
        ),
        Key(
            "profiles_dir",
            text(".", "the path of a folder"),
            "Folder of profiles.yml.",
            otherwise="the project's, if it has one",
        ),
        Key("threads", Integer(1, 256), "How many nodes at a time.", otherwise="the profile's"),
        Key("full_refresh", Flag(), "Build incremental models from scratch.", otherwise="false"),
        short="project",
        phrase="`dbt`",
        sample='dbt: {project: warehouse, command: build, select: +gmv, vars: {day: "{partition}"}}',
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `dbt`."""
        return call_runtime("dbt", task, context)
