"""Times the store of messages as the batcher calls it, and prints the milliseconds of a batch.

Run in the server's environment: `python -m bench.store_batches --count 40 --chats ID...`. Half of a batch goes into the
first chat, the long one, and the other half into others, each written to by the person it was opened with.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import cycle, islice
from uuid import UUID

from bench.seed_parley import TEXT
from messaging.drafts import Draft
from messaging.models import Membership
from messaging.services import Stored, store

BATCH = 64
WARMUP = 5


def batch(senders: dict[UUID, UUID], chats: list[UUID]) -> list[Draft]:
    return [Draft(sender_id=senders[chat_id], chat_id=chat_id, content=TEXT) for chat_id in chats]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--chats", type=UUID, nargs="+", required=True)
    arguments = parser.parse_args()
    long, *short = arguments.chats
    # The later of two members: chats of one person have that person in common.
    senders = dict(
        Membership.objects.filter(chat_id__in=arguments.chats).order_by("id").values_list("chat_id", "user_id")
    )
    others = cycle(short)
    taken = []
    for number in range(WARMUP + arguments.count):
        drafts = batch(senders, [long] * (BATCH // 2) + list(islice(others, BATCH // 2)))
        began = time.perf_counter()
        outcomes = store(drafts)
        if number >= WARMUP:
            taken.append((time.perf_counter() - began) * 1000)
        if not all(isinstance(outcome, Stored) and not outcome.duplicate for outcome in outcomes):
            raise RuntimeError(f"refused: {outcomes}")
    taken.sort()
    place = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1}
    json.dump(
        {"count": len(taken), **{name: taken[max(0, round(share * len(taken)) - 1)] for name, share in place.items()}},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
