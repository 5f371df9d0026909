"""Tell tenants once more: ``SEED:NUMBER:SIZE[:short]``, ``SEED "HABIT"``, or every habit alone: ``SEED each``."""

from __future__ import annotations

import sys

from bms_pipeline_tests.stranger.habits import HABITS
from bms_pipeline_tests.stranger.telling import alone, mixed

seed, _, rest = sys.argv[1].partition(":")
if rest:
    number, _, more = rest.partition(":")
    size, _, short = more.partition(":")
    told = mixed(int(seed), int(number), int(size), whole=not short)
    print(told.said, told, sep="\n\n")
elif sys.argv[2] == "each":
    for habit in HABITS:
        told = alone(int(seed), habit.name)
        print("WRONG" if told.faults else "loads" if told.story.loaded else "refused", told, flush=True)
else:
    told = alone(int(seed), sys.argv[2])
    print(told.said, told, sep="\n\n")
