"""Everything that a command needs, looked at before it starts, all problems told together.

Nothing here creates or changes anything.
"""

from pipelines.preflight.first import strange_records
from pipelines.preflight.inputs import (
    FILE_KINDS,
    check_folder,
    check_input,
    check_labels,
    check_reading_cost,
)
from pipelines.preflight.outputs import (
    check_apart,
    check_bundle_target,
    check_event_target,
    check_file_target,
    check_folder_target,
    check_metrics_file,
    check_output,
    check_scratch,
    check_writable,
)
from pipelines.preflight.problems import Preflight
from pipelines.preflight.runners import check_beam_args, check_flink, check_runner, check_span
from pipelines.preflight.settings import (
    check_bundle,
    check_detectors,
    check_format,
    check_known_texts,
    check_letter_keys,
    check_on_call,
    check_registry,
    check_watch_list,
)

__all__ = [
    "FILE_KINDS",
    "Preflight",
    "check_apart",
    "check_beam_args",
    "check_bundle",
    "check_bundle_target",
    "check_detectors",
    "check_event_target",
    "check_file_target",
    "check_flink",
    "check_folder",
    "check_folder_target",
    "check_format",
    "check_input",
    "check_known_texts",
    "check_labels",
    "check_letter_keys",
    "check_metrics_file",
    "check_on_call",
    "check_output",
    "check_reading_cost",
    "check_registry",
    "check_runner",
    "check_scratch",
    "check_span",
    "check_watch_list",
    "check_writable",
    "strange_records",
]
