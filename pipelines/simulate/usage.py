"""What a request used: network, client, model, tokens, price and outcome, for many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.accounts import Account
from pipelines.simulate.behaviour import Rows
from pipelines.simulate.prompts import Ids
from pipelines.simulate.traces import Traces
from pipelines.simulate.world import MODELS, NEW_MODEL

_USUAL = 0.75  # share of conversations from the usual network and client
_FAILURES = ((429, 0.004), (500, 0.002), (400, 0.003))
_THINKING_TOKENS = 600


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists of different lengths, side by side."""

    values: Ids
    starts: Ids
    counts: Ids

    @staticmethod
    def of(lists: Sequence[Sequence[int]]) -> Ragged:
        counts = np.array([len(one) for one in lists], np.int64)
        values = np.array([value for one in lists for value in one], np.int64)
        return Ragged(values, np.cumsum(counts) - counts, counts)

    def pick(self, rows: Ids, seats: Ids, draw: Ids) -> Ids:
        """A value for each row: by seat where there is one, else mostly the first of the list."""
        counts = self.counts[rows]
        uniform = (draw & 0xFFFF) / 65536.0
        anyone = ((draw >> 16) & 0xFFFF) % counts
        index = np.where(seats > 0, seats % counts, np.where(uniform < _USUAL, 0, anyone))
        return self.values[self.starts[rows] + index]


@dataclass(frozen=True, slots=True)
class AccountArrays:
    """Habits of all accounts as arrays, one element an account."""

    networks: Ragged
    clients: Ragged
    main_model: Ids
    other_model: Ids
    adopts_ms: Ids
    adopts: NDArray[np.float64]
    temperature: NDArray[np.float64]
    varies: NDArray[np.bool_]
    max_output: Ids
    context: NDArray[np.float64]
    output_median: NDArray[np.float64]
    json_share: NDArray[np.float64]
    tool_share: NDArray[np.float64]
    lapse_ms: Ids

    @staticmethod
    def of(accounts: Sequence[Account]) -> AccountArrays:
        def floats(name: str) -> NDArray[np.float64]:
            return np.array([getattr(account, name) for account in accounts], np.float64)

        def ints(name: str) -> Ids:
            return np.array([getattr(account, name) for account in accounts], np.int64)

        return AccountArrays(
            networks=Ragged.of([account.networks for account in accounts]),
            clients=Ragged.of([account.clients for account in accounts]),
            main_model=np.array([account.models[0] for account in accounts], np.int64),
            other_model=np.array([account.models[1] for account in accounts], np.int64),
            adopts_ms=ints("adopts_ms"),
            adopts=floats("adopts"),
            temperature=floats("temperature"),
            varies=np.array([account.temperature_varies for account in accounts], bool),
            max_output=ints("max_output"),
            context=floats("context_tokens"),
            output_median=floats("output_median"),
            json_share=floats("json_share"),
            tool_share=floats("tool_share"),
            lapse_ms=ints("lapse_ms"),
        )

    def after_lapse(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Once an account's card has expired, few attempts are made, and all are refused."""
        lapsed = rows["time"] >= self.lapse_ms[rows["account"]]
        if not lapsed.any():
            return rows
        rows = rows[~lapsed | (rng.random(len(rows)) < 0.08)]
        rows["status"][rows["time"] >= self.lapse_ms[rows["account"]]] = 403
        return rows


@dataclass(frozen=True, slots=True)
class Usage:
    """Columns of a chunk of events, as lists of Python values, one a request."""

    network: list[int]
    client: list[int]
    credential: list[int]
    model: list[int]
    conversation: list[str]
    turn: list[int]
    input_tokens: list[int]
    output_tokens: list[int]
    reasoning_tokens: list[int]
    temperature: list[float]
    tools: list[bool]
    json: list[bool]
    status: list[int]
    cost: list[float]


def use(
    rows: Rows,
    texts: Sequence[str],
    arrays: AccountArrays,
    traces: Traces | None,
    release_ms: int,
    rng: np.random.Generator,
) -> Usage:
    """Draws what requests used.

    Args:
      rows: requests, structured as `ROW`.
      texts: their prompts.
      arrays: habits of accounts.
      traces: real token lengths, None for the own model.
      release_ms: when the new model came out.
      rng: generator of this chunk's day.
    """
    count = len(rows)
    who = rows["account"].astype(np.int64)
    seats = rows["seat"].astype(np.int64)
    conversation = rows["conversation"]
    fresh = rng.random((6, count))

    model = np.where(fresh[0] < 0.12, arrays.other_model[who], arrays.main_model[who])
    adopted = rows["time"] >= np.maximum(arrays.adopts_ms[who], release_ms)
    model = np.where(adopted & (fresh[1] < arrays.adopts[who]), NEW_MODEL, model)

    inputs = _input_tokens(rows, texts, arrays.context[who], rng)
    reasons = np.array([known.reasons for known in MODELS])[model]
    thinking = np.where(reasons, rng.lognormal(np.log(_THINKING_TOKENS), 0.9, count), 0.0).astype(
        np.int64
    )
    outputs = _output_tokens(inputs, arrays, who, traces, rng)

    status = rows["status"].astype(np.int64)
    undecided = status == 0
    status[undecided] = 200
    edge = 0.0
    for code, share in _FAILURES:
        status[undecided & (fresh[2] >= edge) & (fresh[2] < edge + share)] = code
        edge += share
    answered = status == 200
    outputs, thinking = np.where(answered, outputs, 0), np.where(answered, thinking, 0)
    price_in = np.array([known.input_price for known in MODELS])[model]
    price_out = np.array([known.output_price for known in MODELS])[model]
    cost = np.where(answered, inputs * price_in + (outputs + thinking) * price_out, 0.0) / 1e6
    temperature = np.where(arrays.varies[who], np.round(fresh[3], 1), arrays.temperature[who])
    return Usage(
        network=arrays.networks.pick(who, seats, conversation >> 8).tolist(),
        client=arrays.clients.pick(who, seats, conversation >> 24).tolist(),
        credential=np.where(seats > 0, seats, (conversation >> 5) & 3).tolist(),
        model=model.tolist(),
        conversation=[f"conv_{number:015x}" for number in conversation.tolist()],
        turn=rows["turn"].tolist(),
        input_tokens=inputs.tolist(),
        output_tokens=outputs.tolist(),
        reasoning_tokens=thinking.tolist(),
        temperature=temperature.tolist(),
        tools=(fresh[4] < arrays.tool_share[who]).tolist(),
        json=(fresh[5] < arrays.json_share[who]).tolist(),
        status=status.tolist(),
        cost=np.round(cost, 6).tolist(),
    )


def _input_tokens(
    rows: Rows, texts: Sequence[str], context: NDArray[np.float64], rng: np.random.Generator
) -> Ids:
    """Tokens of the prompt (about four bytes each), its system prompt and the turns before it."""
    size = np.array([len(text.encode()) for text in texts], np.float64)
    tokens = size / 4.0 * rng.lognormal(0.0, 0.08, len(rows)) + 3
    before = rows["turn"] * rng.lognormal(np.log(300), 0.5, len(rows))
    total: Ids = (tokens + context + before).astype(np.int64)
    return total


def _output_tokens(
    inputs: Ids,
    arrays: AccountArrays,
    who: Ids,
    traces: Traces | None,
    rng: np.random.Generator,
) -> Ids:
    """Tokens of the answer, at most what the account allows."""
    drawn = arrays.output_median[who] * rng.lognormal(0.0, 0.75, len(inputs))
    drawn *= np.clip(inputs / 200.0, 0.3, 3.0) ** 0.15
    if traces is not None and len(traces.input_tokens):
        real = traces.outputs_for(inputs, rng)
        drawn = np.where(rng.random(len(inputs)) < 0.5, drawn, real)
    limited: Ids = np.clip(drawn.astype(np.int64), 1, arrays.max_output[who])
    return limited
