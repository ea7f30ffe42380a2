"""One GPU, a training and urgent questions, in half a minute: `python examples/gpu-contention/demo.py`.

Real processes on a real engine: the training is asked to stop, saves, makes room, and goes on from
its checkpoint. At the end it is checked that no epoch was learned twice or left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from stage import (  # noqa: E402, a script's own folder comes first
    SHOWN,
    Engine,
    Trouble,
    Watcher,
    console,
    heading,
    new_table,
    play,
    say,
    seconds,
    start_engine,
)

#: After which epochs questions come.
QUESTIONS = {3: [0.2], 7: [0.5, 0.9]}


def main(folder: Path, began: float) -> None:
    """Start the engine, tell the story."""
    with start_engine(folder) as engine:
        tell(began, folder, engine)


def tell(began: float, folder: Path, engine: Engine) -> None:
    """The story, and what came of it."""
    more = {"CheckpointReached": ("·", "dim"), "StartAttempt": ("▷", "cyan")}
    watcher = Watcher(engine, began, shown=SHOWN | more)
    heading("New data has landed: training takes the GPU")
    engine.emit("training.data.landed", "lake", "2026-03")
    asked = 0
    for epoch, questions in QUESTIONS.items():
        watcher.until(
            lambda epoch=epoch: reached(watcher) >= epoch, f"epoch {epoch}", ask_why="train", longest_s=60
        )
        heading(f"After epoch {epoch}: {len(questions)} urgent question{'s'[: len(questions) > 1]}")
        for x in questions:
            asked += 1
            engine.emit("prediction.asked", "shop", f"q{asked}", x=x)
        say(f"Why does infer wait? {engine.why('infer')}")
        watcher.until(lambda asked=asked: len(answers(folder)) == asked, "the answers", ask_why="infer")
    heading("The training goes on where it was")
    watcher.until(lambda: watcher.finished("train") == 1, "the end of the training", ask_why="train", longest_s=60)
    watcher.until(engine.is_idle, "everything settles")
    watcher.stop()
    conclude(folder, engine)


def reached(watcher: Watcher) -> int:
    """The newest epoch that the training has reported."""
    epochs = [fact["fact"]["data"]["epoch"] for fact in watcher.of_kind("CheckpointReached")]
    return max(epochs, default=0)


def answers(folder: Path) -> list[Any]:
    """What was predicted."""
    file = folder / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def conclude(folder: Path, engine: Engine) -> None:
    """Say who had the GPU when, and check that nothing was learned twice or lost."""
    facts = engine.journal()
    heading("Who had the GPU")
    starts = {f["fact"]["attempt"]: f for f in facts if f["kind"] == "StartAttempt"}
    ends = {f["fact"]["attempt"]: f for f in facts if f["kind"] == "AttemptEnded"}
    stops = {f["fact"]["attempt"]: f["text"].partition(": ")[2] for f in facts if f["kind"] == "StopAttempt"}
    first = min(seconds(fact["at"]) for fact in starts.values())
    table = new_table("attempt", "from", "to", "why it ended")
    for attempt, start in starts.items():
        span = [f"{seconds(moment['at']) - first:.1f} s" for moment in (start, ends[attempt])]
        table.add_row(attempt, *span, stops.get(attempt, "done"))
    console.print(table)

    heading("What was learned")
    epochs = [json.loads(line) for line in (folder / "epochs.log").read_text().splitlines()]
    table = new_table("attempt", "epochs", "loss at its end")
    for attempt in dict.fromkeys(epoch["attempt"] for epoch in epochs):
        own = [epoch for epoch in epochs if epoch["attempt"] == attempt]
        table.add_row(attempt, f"{own[0]['epoch']} to {own[-1]['epoch']}", str(own[-1]["loss"]))
    console.print(table)
    numbers = [epoch["epoch"] for epoch in epochs]
    if numbers != list(range(1, len(numbers) + 1)):
        raise Trouble(f"every epoch once and in order was expected, {numbers} was found")
    if not stops:
        raise Trouble("the training was expected to make room, it was never asked to")
    asked_at = {f["fact"]["change"]["id"]: seconds(f["at"]) for f in facts if f["kind"] == "EventAccepted"}
    answered_at = {answer["id"]: seconds(ends[f"{answer['run']}/run/1"]["at"]) for answer in answers(folder)}
    waits = [answered_at[question] - asked_at[question] for question in answered_at]
    console.print(f"Every epoch was learned once. The longest wait for an answer was {max(waits):.1f} s.")


if __name__ == "__main__":
    sys.exit(play("One GPU: training makes room for inference, on a real engine.", HERE, main))
