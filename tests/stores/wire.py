"""Runs `secantusd-py` with two answers put right. MongoDB takes nested documents of a stage apart into paths.

`{"$project": {"sender": {"name": 1}}}` asks for `sender.name`, and `$addFields` keeps what else `sender` holds. The
server takes the nested document for the value. Whatever the ORM reads across a relation goes that way, so that without
this little could be tested. `tests/test_stores.py` tells when a version of the server no longer needs it. And MongoDB
tells, when asked, how long a transaction may be open.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

STAGES = ("$project", "$addFields", "$set")
LIFETIME_SECONDS = 5.0
"""How long a transaction may be open; MongoDB says 60, for which no test wants to wait."""


def paths(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(path, expression)` of a stage's fields; a document with an operator is an expression, not a level."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value and not any(key.startswith("$") for key in value):
            yield from paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def corrected(stage: Callable[..., Any]) -> Callable[..., Any]:
    """Return the stage for fields that may be nested."""

    def run(fields: Any, *rest: Any, **more: Any) -> Any:
        return stage(dict(paths(fields)) if isinstance(fields, Mapping) else fields, *rest, **more)

    return run


def telling(parameters: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Return what gives the server's parameters, with the one that it keeps and does not tell."""

    def run(self: Any) -> dict[str, Any]:
        return {**parameters(self), "transactionLifetimeLimitSeconds": LIFETIME_SECONDS}

    return run


if __name__ == "__main__":
    from secantus import aggregate
    from secantus.cli import main
    from secantus.server import SecantusDBServer
    from secantus.serverparams import ServerParams

    aggregate._STAGES.update({name: corrected(aggregate._STAGES[name]) for name in STAGES})  # type: ignore[has-type]
    # What a killed client leaves open holds up whoever writes to the same documents until it is ended: in MongoDB by
    # `transactionLifetimeLimitSeconds`, here by an option that the command line does not have.
    ServerParams.snapshot = telling(ServerParams.snapshot)  # type: ignore[method-assign]
    (SecantusDBServer.__init__.__kwdefaults__ or {})["transaction_lifetime_seconds"] = LIFETIME_SECONDS
    sys.exit(main())
