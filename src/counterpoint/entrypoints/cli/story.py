"""The journal as a story: a line for each decision worth telling, and silence about the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from counterpoint.entrypoints.cli.output import DIM, Segments

#: Kind of fact -> its symbol and style. What is not here is not told: it is the small print
#: of what is (a change handed on before the run it starts, a tick noted, a place in the queue).
TOLD: Mapping[str, tuple[str, str]] = {
    "PlanDeclared": ("§", "bold"),
    "ClockJumped": ("!", "yellow"),
    "InputRefused": ("!", "yellow"),
    "EventAccepted": ("→", "blue"),
    "AssetReported": ("→", "blue"),
    "RunRequested": ("→", "blue"),
    "CancelRequested": ("→", "blue"),
    "RetryRequested": ("→", "blue"),
    "PauseRequested": ("→", "blue"),
    "ResumeRequested": ("→", "blue"),
    "ReplayRequested": ("→", "blue"),
    "DiscardRequested": ("→", "blue"),
    "HostUnreachable": ("!", "red"),
    "HostLost": ("!", "red"),
    "CheckpointReached": ("·", "cyan"),
    "AttemptLost": ("!", "red"),
    "SkipTicks": ("!", "yellow"),
    "AdmitRun": ("▶", "cyan"),
    "StartAttempt": ("·", "cyan"),
    "StopAttempt": ("!", "yellow"),
    "RetryTask": ("↻", "yellow"),
    "FailTask": ("✗", "red"),
    "AssetPublished": ("◆", "green"),
    "ConfirmAsset": ("◇", "green"),
    "RefuseReport": ("!", "yellow"),
    "MarkSuspect": ("!", "yellow"),
    "MissObligations": ("✗", "red"),
    "AwaitConfirmation": ("·", "cyan"),
    "FinishRun": ("✓", "green"),
    "RestSubscription": ("◑", "yellow"),
    "EndItems": ("!", "yellow"),
    "RaiseRun": ("▲", "yellow"),
    "PlaceRun": ("▲", "yellow"),
    "ReserveFor": ("▲", "yellow"),
}

#: How a run ended, where that is not with success.
_ENDS = {"failed": ("✗", "red"), "cancelled": ("⊘", DIM)}


def tell(message: Mapping[str, Any], *, about: str = "") -> Segments | None:
    """The line of a message of the stream; None if it is not worth one.

    Args:
        about: the run that all lines are about, so that none needs to name it.
    """
    look = TOLD.get(message["kind"])
    if look is None or not message["text"]:
        return None
    fact = message.get("fact", {})
    if message["kind"] == "FinishRun":
        look = _ENDS.get(fact.get("phase", ""), look)
    symbol, style = look
    at = datetime.fromisoformat(message["at"]).astimezone(UTC)
    who, text = _who(message, fact), str(message["text"])
    # The sentence may begin with the name that stands in the column already, or is clear.
    for said in (f"{about}/",) if about else (f"{who}/", f"{who} ", f"{who}: ", f"event {who} "):
        text = text.removeprefix(said)
    reason = fact.get("reason") or {}
    if message["kind"] == "FinishRun" and reason.get("code") == "task-failed":
        # Why the task failed is told one line above.
        text = f"{text.partition(': ')[0]}: task {reason['figures']['task']}"
    return [
        (at.strftime("%H:%M:%S.%f")[:-3] + "Z", DIM),
        (f"  {symbol} ", style),
        ("" if about else f"{who:<22} ", "bold" if message["kind"] in ("AdmitRun", "FinishRun") else ""),
        (text, style if style in ("red", "yellow") else ""),
    ]


def _who(message: Mapping[str, Any], fact: Mapping[str, Any]) -> str:
    """What a fact is about, for the column of names."""
    if message["kind"] == "EventAccepted":
        return str(fact.get("change", {}).get("type", ""))
    return str(message.get("run") or message.get("pipeline") or fact.get("asset") or "")
