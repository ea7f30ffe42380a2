"""Errors as the API tells them: a status and `{"code", "message", "where"}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec import Struct, field, json
from starlette.requests import Request
from starlette.responses import Response

from counterpoint import errors

log = logging.getLogger(__name__)

#: Codes of mistakes whose status is not the 400 of any other mistake.
_STATUS = {
    "bad-signature": 401,
    "token-needed": 401,
    "forbidden": 403,
    "cross-site": 403,
    "too-large": 413,
    "media-type": 415,
    "foreign-host": 421,
}


class Problem(Struct, kw_only=True, omit_defaults=True):
    """What was wrong with a request, and what to do. `where` is a place in what was sent.

    Attributes:
        mistakes: for a refused declaration: every mistake in it, each with its own place.
    """

    code: str
    message: str
    where: str = field(default="")
    mistakes: list[Problem] = field(default_factory=list)


def refuse(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A response that tells a problem."""
    return Response(json.encode(problem), status, headers, media_type="application/json")


def answer_error(error: Exception) -> Response:
    """The response to an error that a handler raised."""
    match error:
        case errors.DeclarationError(mistakes=mistakes):
            count = len(mistakes)
            message = f"the declaration is refused: {count} mistake{'s' if count != 1 else ''}"
            return refuse(
                400, Problem(code=error.code, message=message, mistakes=[_problem(each) for each in mistakes])
            )
        case errors.NotFound():
            return refuse(404, _problem(error))
        case errors.Conflict():
            return refuse(409, _problem(error))
        case errors.Mistake():
            headers = {"WWW-Authenticate": "Bearer"} if error.code == "token-needed" else None
            return refuse(_STATUS.get(error.code, 400), _problem(error), headers)
        case errors.StoreError() | errors.HostUnreachable():
            # What was asked may or may not be recorded: asking again is safe, because every
            # request that changes something is idempotent or carries its own identity.
            message = f"{str(error) or 'the store did not answer'}; ask again"
            return refuse(503, Problem(code=error.code, message=message), {"Retry-After": "1"})
        case errors.MissingExtra():
            return refuse(501, Problem(code=error.code, message=str(error)))
        case _:
            log.error("a request failed by a mistake of ours", exc_info=error)
            return refuse(500, Problem(code="internal", message="this is a mistake of ours; the log says more"))


async def on_error(request: Request, error: Exception) -> Response:
    """`answer_error`, as Starlette calls it for what is raised outside of our own routes."""
    return answer_error(error)


def _problem(mistake: errors.Mistake) -> Problem:
    return Problem(code=mistake.code, message=mistake.message, where=mistake.where)
