"""Whether a cluster keeps what incremental checkpoints refer to.

RocksDB saves only the files that are new since the last checkpoint of which its step has heard that
it is complete. A step that was busy when that was told takes an older one, and saves files once
more that the newer one has under other names. The job manager drops what none of the checkpoints
that it retains has; with one retained, a step that is late twice in a row refers to what is gone.
The job manager then throws away the step's answer ("Attempt to reference unknown state"), and the
checkpoint waits for it until it times out (seen with Flink 1.19 in
about half of the jobs that were drained).
"""

from __future__ import annotations

from collections.abc import Mapping

ENOUGH = 3
MEND = f"set state.checkpoints.num-retained to {ENOUGH} in the cluster's configuration"
# Flink 1.20 and 2 have new names for the same.
_BACKEND = ("state.backend.type", "state.backend")
_INCREMENTAL = ("execution.checkpointing.incremental", "state.backend.incremental")
_RETAINED = ("execution.checkpointing.num-retained", "state.checkpoints.num-retained")


def retains_too_few(configuration: Mapping[str, str]) -> str | None:
    """What is wrong with a cluster's configuration; None: nothing.

    Args:
      configuration: as the job manager tells it, names to values; what is not there has Flink's
        default.
    """

    def told(names: tuple[str, ...], otherwise: str) -> str:
        return next((configuration[name] for name in names if name in configuration), otherwise)

    retained = told(_RETAINED, "1")
    if (
        told(_BACKEND, "hashmap") == "hashmap"
        or told(_INCREMENTAL, "false").lower() != "true"
        or not retained.isdecimal()
        or int(retained) >= ENOUGH
    ):
        return None
    return f"checkpoints are incremental and {retained} of them retained: one may wait for ever"
