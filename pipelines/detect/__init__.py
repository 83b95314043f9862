"""`distilwatch detect`: request events in, flagged clusters out.

`plan` says what is to be done, `build` makes the pipeline, `bounded` runs it over input that ends,
and `endless` over input that does not; `pipelines.dataflow` gives it to Google's service.
"""

from __future__ import annotations

from pipelines.console import Console
from pipelines.detect.build import build
from pipelines.detect.plan import DetectOptions, DetectSummary, Plan, make_plan
from pipelines.observe.traces import traced

__all__ = ["DetectOptions", "DetectSummary", "Plan", "build", "detect", "make_plan"]


def detect(options: DetectOptions, console: Console) -> DetectSummary:
    """Runs the main job and writes its tables.

    Raises:
      DistilwatchError: when bundle, input or output cannot be used.
    """
    console.step("Verify the bundle")
    plan = make_plan(options)
    for warning in plan.warnings:
        console.warn(warning)
    if plan.runner == "dataflow":  # which has monitoring of its own
        from pipelines.dataflow.submit import run_on_dataflow

        return run_on_dataflow(plan, console)
    with traced(console.warn, run_id=plan.run_id, runner=plan.runner):
        if plan.runner in ("prism", "flink"):
            from pipelines.detect.endless import run_until_stopped

            return run_until_stopped(plan, console)
        from pipelines.detect.bounded import run_to_the_end

        return run_to_the_end(plan, console)
