"""What is not told of a failed job, and what is."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from typing import NoReturn

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import sdk_worker

from pipelines.detect.hushed import told_once


def test_connections_that_a_failed_job_has_closed_are_not_told_of(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("apache_beam.runners.worker.data_plane")
    caplog.set_level(logging.ERROR, log.name)  # a stream that this process ran has left it quiet
    handler = logging.StreamHandler(sys.stderr)

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception:
            log.exception("Failed to read inputs")
            raise

    def in_a_thread(error: Exception) -> None:
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()

    before = threading.excepthook
    threading.excepthook = threading.__excepthook__  # not pytest's
    log.addHandler(handler)
    try:
        with told_once():
            in_a_thread(grpc.RpcError("gone"))
            assert capsys.readouterr().err == ""
            in_a_thread(ValueError("of a stranger"))
            assert capsys.readouterr().err.count("Traceback") == 2
        in_a_thread(grpc.RpcError("gone"))
        assert capsys.readouterr().err.count("Traceback") == 2
    finally:
        log.removeHandler(handler)
        threading.excepthook = before


def test_a_worker_that_stumbles_while_it_leaves_tells_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundles that were cancelled come back to the cache that it is about to clear."""
    cache = object.__new__(sdk_worker.BundleProcessorCache)

    cache.periodic_shutdown, cache.active_bundle_processors = None, {}

    class Changes(dict[str, list[object]]):
        def values(self) -> NoReturn:
            raise RuntimeError("dictionary changed size during iteration")

    cache.cached_bundle_processors = Changes()
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # not pytest's

    def leave() -> str:
        thread = threading.Thread(target=cache.shutdown)
        thread.start()
        thread.join()
        return capsys.readouterr().err

    assert "changed size" in leave()
    with told_once():
        assert leave() == ""
    assert "changed size" in leave()


def test_a_step_whose_state_is_no_more_to_be_had_is_not_told_and_other_errors_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(problem: Exception) -> list[str]:
        caplog.clear()
        try:
            raise problem
        except Exception as caught:
            logging.getLogger("apache_beam.runners.common").exception(caught)
        return caplog.messages

    with told_once():
        assert fail(RuntimeError()) == []
        assert fail(RuntimeError("of a stranger")) == ["of a stranger"]
        assert fail(ValueError()) == [""]
    assert fail(RuntimeError()) == [""]


def test_a_worker_that_finds_its_runner_gone_when_all_is_over_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(sdk_worker), "print", print)
    harness = object.__new__(sdk_worker.SdkHarness)
    harness._responses = queue.Queue()

    def start_a_bundle() -> None:
        raise grpc.RpcError("the runner is gone")

    def execute() -> str:
        request = beam_fn_api_pb2.InstructionRequest(instruction_id="late")
        harness._execute(start_a_bundle, request)
        assert "the runner is gone" in harness._responses.get().error
        return capsys.readouterr().err

    assert "Traceback" in execute()
    with told_once():
        pass
    assert "Traceback" not in execute()
