"""Kill a process that logs, at random moments, again and again, and check what is left and whether it can go on.

`tests/processes/test_kills.py` kills a few; this kills 200, or as many as are named on the command line::

    python -m benchmarks.kills 200
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.killing import FLUSH_SECS, Campaign

KILLS_IN_A_RUN = 5


def main(kills: int) -> None:
    """Kill, and print what was found."""
    with tempfile.TemporaryDirectory() as root:
        campaign = Campaign(Path(root))
        for seed in range(kills // KILLS_IN_A_RUN):
            campaign.kill(KILLS_IN_A_RUN, seed)
    for what, count in campaign.counts.items():
        print(f"{count:4} {what}")
    lost = [1000 * seconds for seconds in campaign.seconds_lost]
    print(f"CSV and events were apart in {campaign.most_apart} steps at most.")
    print(f"flush_secs was {FLUSH_SECS}.")
    print(
        f"The kill took what was logged in the last {statistics.median(lost):.0f} ms, and {max(lost):.0f} ms at most."
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
