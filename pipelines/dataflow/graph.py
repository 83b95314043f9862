"""Looks at the job that Dataflow would get, and keeps what a running job depends on locked.

    python -m pipelines.dataflow.graph            # what changed since the lockfile was written
    python -m pipelines.dataflow.graph --update   # writes infra/dataflow/graph.lock.json anew

Dataflow replaces a running job by a newer one only where every step of the old one is found again
by its name, and what is kept in state or on its way between steps is coded in the same way.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apache_beam.coders.coders import Coder, TupleCoder
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.pipeline_context import PipelineContext

from pipelines.dataflow.translate import KINDS, example_plan, translated

LOCKFILE = Path(__file__).resolve().parents[2] / "infra" / "dataflow" / "graph.lock.json"
GROUP = common_urns.primitives.GROUP_BY_KEY.urn
PAR_DO = common_urns.primitives.PAR_DO.urn
WINDOWS = ("global_windows", "fixed_windows", "sliding_windows", "session_windows")
# A limit of the service; the others are ours, well inside of what it takes.
MOST_BYTES = 10_000_000
MOST_LETTERS = 200
_NAME = re.compile(r"[A-Za-z0-9_()<>./ :*,-]+")
# What Beam calls a lambda of its own depends on its version.
_LINE = re.compile(r"(<lambda at [a-z_]+\.py):\d+>")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}|[0-9a-f]{16,}")
Step = dict[str, Any]
Graph = dict[str, Step]


def label(transform: api.PTransform) -> str:
    """The name of a step, the same with every version of Beam that names its steps the same."""
    return _LINE.sub(r"\1:*>", transform.unique_name)


def words_of(coder: Coder) -> str:
    """A coder in words, with what it is made of."""
    if isinstance(coder, TupleCoder):
        return f"Tuple[{', '.join(words_of(c) for c in coder.coders())}]"
    said = repr(coder)
    return type(coder).__name__ if " at 0x" in said or " object" in said else said


def leaves(proto: api.Pipeline) -> Iterator[api.PTransform]:
    """Steps that do something; those that only hold others are left out."""
    for transform in proto.components.transforms.values():
        if not transform.subtransforms and transform.spec.urn:
            yield transform


def graph_of(proto: api.Pipeline) -> Graph:
    """Every step by its label: what it does, the coders of what comes out, state and timers."""
    context = PipelineContext(proto.components)

    def coder(name: str) -> str:
        return words_of(context.coders.get_by_id(name))

    found: Graph = {}
    for transform in leaves(proto):
        outputs = [proto.components.pcollections[o] for _, o in sorted(transform.outputs.items())]
        step: Step = {
            "does": _short(transform.spec.urn),
            "out": [
                f"{coder(o.coder_id)} in {_window(proto, o.windowing_strategy_id)}" for o in outputs
            ],
        }
        if transform.spec.urn == PAR_DO:
            payload = api.ParDoPayload.FromString(transform.spec.payload)
            state = {n: _state(s, coder) for n, s in sorted(payload.state_specs.items())}
            timers = {
                n: f"{_domain(t.time_domain)}, {coder(t.timer_family_coder_id)}"
                for n, t in sorted(payload.timer_family_specs.items())
            }
            step |= {k: v for k, v in (("state", state), ("timers", timers)) if v}
        found[label(transform)] = step
    return dict(sorted(found.items()))


def _short(urn: str) -> str:
    return ":".join(urn.split(":")[2:-1]) or urn


def _window(proto: api.Pipeline, name: str) -> str:
    strategy = proto.components.windowing_strategies[name]
    trigger = strategy.trigger.WhichOneof("trigger")
    mode = api.AccumulationMode.Enum.Name(strategy.accumulation_mode).lower()
    return f"{_short(strategy.window_fn.urn)} {trigger} {mode}".replace("window_fn:", "")


def _state(spec: api.StateSpec, coder: Any) -> str:
    kind = str(spec.WhichOneof("spec"))
    inner = getattr(spec, kind)
    names = ("coder_id", "element_coder_id", "key_coder_id", "value_coder_id")
    ids = [value for n in names if (value := getattr(inner, n, ""))]
    if kind == "combining_spec":
        ids = [inner.accumulator_coder_id]
    return f"{kind.removesuffix('_spec')} of {', '.join(coder(i) for i in ids)}"


def _domain(domain: int) -> str:
    return str(api.TimeDomain.Enum.Name(domain)).lower()


# --- what the service would not take --------------------------------------------------------------


def problems(proto: api.Pipeline) -> list[str]:
    """Everything about a job that Dataflow's Runner v2 would refuse, or stumble over later."""
    coders = list(_of_coders(proto))
    return [
        *_of_names(proto),
        *coders,
        # Of coders that cannot be made, nobody can say how they code keys.
        *(() if coders else _of_keys(proto)),
        *_of_windows(proto),
        *_of_size(proto),
    ]


def _of_names(proto: api.Pipeline) -> Iterator[str]:
    names = [t.unique_name for t in proto.components.transforms.values()]
    for name, times in Counter(map(label, leaves(proto))).items():
        if times > 1:
            yield f"{name}: {times} steps have this label; an update would not tell them apart"
    for name in names:
        if len(name) > MOST_LETTERS:
            yield f"{name}: {len(name)} letters, more than {MOST_LETTERS}"
        if name and not _NAME.fullmatch(name):
            yield f"{name}: has other letters than {_NAME.pattern}"
        if _ADDRESS.search(name):
            yield f"{name}: has a part that looks random; an update would not find it again"


def _of_coders(proto: api.Pipeline) -> Iterator[str]:
    coders = proto.components.coders
    context = PipelineContext(proto.components)
    for name, coder in coders.items():
        for part in coder.component_coder_ids:
            if part not in coders:
                yield f"coder {name}: is made of {part}, which is not there"
        try:
            context.coders.get_by_id(name)
        except Exception as error:
            yield f"coder {name} ({coder.spec.urn}): workers could not make it: {error!r}"
    for name, collection in proto.components.pcollections.items():
        if collection.coder_id not in coders:
            yield f"collection {name}: has no coder"


def keyed_inputs(proto: api.Pipeline) -> Iterator[tuple[str, Coder]]:
    """Steps that group, or keep state, by key, each with the coder of its input."""
    context = PipelineContext(proto.components)
    for transform in leaves(proto):
        if transform.spec.urn == PAR_DO:
            payload = api.ParDoPayload.FromString(transform.spec.payload)
            if not payload.state_specs and not payload.timer_family_specs:
                continue
            timers = set(payload.timer_family_specs) | set(payload.side_inputs)
            inputs = [v for k, v in transform.inputs.items() if k not in timers]
        elif transform.spec.urn == GROUP:
            inputs = list(transform.inputs.values())
        else:
            continue
        for name in inputs:
            coder_id = proto.components.pcollections[name].coder_id
            yield label(transform), context.coders.get_by_id(coder_id)


def _of_keys(proto: api.Pipeline) -> Iterator[str]:
    for step, coder in keyed_inputs(proto):
        if not coder.is_kv_coder():
            yield f"{step}: its input is {words_of(coder)}, not pairs of key and value"
        elif not coder.key_coder().is_deterministic():
            yield (
                f"{step}: keys are coded by {words_of(coder.key_coder())}, which may code one key "
                "in two ways; give the step before it an output type with str, int or bytes as key"
            )


def _of_windows(proto: api.Pipeline) -> Iterator[str]:
    for name, strategy in proto.components.windowing_strategies.items():
        if not any(f":{w}:" in strategy.window_fn.urn for w in WINDOWS):
            yield f"windows {name}: {strategy.window_fn.urn} is none that Runner v2 knows"
        if strategy.merge_status == api.MergeStatus.NEEDS_MERGE:
            yield f"windows {name}: merge, and steps with state cannot follow"
        if strategy.trigger.WhichOneof("trigger") is None:
            yield f"windows {name}: have no trigger"


def _of_size(proto: api.Pipeline) -> Iterator[str]:
    size = proto.ByteSize()
    if size > MOST_BYTES:
        yield f"the job has {size:,} bytes, more than {MOST_BYTES:,}: something big is pickled"


# --- what a running job depends on ----------------------------------------------------------------

_DRAIN = (
    "Dataflow rejects the update: drain the running job and start a new one (docs/dataflow.md, "
    "Update)"
)


def differences(old: Graph, new: Graph) -> list[str]:
    """What changed between two versions of a job, and what that means for one that is running."""
    said = []
    added = [name for name in new if name not in old]
    for name, before in old.items():
        if name not in new:
            said.append(_gone(name, before, {n: new[n] for n in added}))
            continue
        after = new[name]
        for what, word in (("state", "state"), ("timers", "timers")):
            if before.get(what) != after.get(what):
                said.append(f"{name}: {word} {before.get(what)} became {after.get(what)}. {_DRAIN}")
        if before["does"] != after["does"]:
            said.append(f"{name}: was {before['does']}, is {after['does']}. {_DRAIN}")
        if before["out"] != after["out"]:
            said.append(
                f"{name}: the coder or window of what comes out was {before['out']}, is "
                f"{after['out']}. {_DRAIN}"
            )
    said += [
        f"{name}: is new. An update takes it, unless it keeps state that should know of the past"
        for name in added
    ]
    return said


def _gone(name: str, step: Step, added: Mapping[str, Step]) -> str:
    alike = [n for n, s in added.items() if s == step]
    keeps = " It keeps state, which would be lost." if "state" in step or _groups(step) else ""
    near = next(iter(alike), "")
    hint = f"now called {near}?" if near else "taken out?"
    mapping = json.dumps({name: near})
    return (
        f"{name}: the label is gone, {hint}{keeps} Dataflow rejects the update, unless it is told "
        f"--transform_name_mapping='{mapping}'; or drain the running job and start a new one"
    )


def _groups(step: Step) -> bool:
    return str(step["does"]).endswith("group_by_key")


def current() -> dict[str, Graph]:
    """The graphs of both kinds of jobs, as the code is now."""
    graphs: dict[str, Graph] = {}
    for kind in KINDS:
        with example_plan(kind) as plan:
            graphs[kind] = graph_of(translated(plan)[0])
    return graphs


def locked() -> dict[str, Graph]:
    """The graphs of the lockfile."""
    found: dict[str, Graph] = json.loads(LOCKFILE.read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Says what changed, or writes the lockfile anew."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.dataflow.graph")
    parser.add_argument("--update", action="store_true", help="write the lockfile anew")
    update = parser.parse_args(arguments).update
    graphs = current()
    old: Mapping[str, Graph] = locked() if LOCKFILE.exists() else {}
    changes = [
        f"{kind}: {line}"
        for kind, graph in graphs.items()
        for line in differences(old.get(kind, {}), graph)
    ]
    print("\n".join(changes) or "Nothing changed: a running job can be updated.")
    if update:
        LOCKFILE.write_text(json.dumps(graphs, indent=1) + "\n", encoding="utf-8")
        return 0
    return 2 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
