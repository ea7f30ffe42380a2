"""`dbt`: a real dbt-core invocation; its nodes become results, verdicts and asset versions."""

from __future__ import annotations

from counterpoint.adapters.tools.settings import FLAG, Anything, Field, Many, MapOf, Record, choice, integer, text
from counterpoint.adapters.tools.translation import TableTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context


class DbtTool(TableTool):
    """Runs dbt in a fork of a process that has dbt loaded, which saves seconds per invocation."""

    name = "dbt"
    table = Record(
        {
            "project": Field(text(), "Folder of the dbt project.", required=True),
            "command": Field(
                choice("build", "run", "test", "seed", "snapshot", "compile", "deps"),
                "build unless given.",
                default="build",
            ),
            "select": Field(Many(text(), single=True), "Nodes to select, in dbt's words."),
            "exclude": Field(Many(text(), single=True), "Nodes to leave out."),
            "vars": Field(
                MapOf(Anything()), "Variables; `{partition}` and `{params.NAME}` in texts are filled in."
            ),
            "target": Field(text(), "Which target of the profile."),
            "profiles_dir": Field(text(), "Folder of profiles.yml; the project's own if it has one."),
            "threads": Field(integer(1, 256), "How many nodes at a time."),
            "full_refresh": Field(FLAG, "Build incremental models from scratch."),
        },
        short="project",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `dbt`."""
        return call_runtime("dbt", task, context)
