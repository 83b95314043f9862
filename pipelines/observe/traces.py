"""Traces by OTLP, where the usual variables of OpenTelemetry name a collector.

Spans come from `transforms.spans`. Our own provider is given to nobody else: libraries that trace
by themselves would otherwise send the texts of queries along.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.extras import missing_extra
from transforms.spans import Attributes, heard_by

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_LOGGERS = ("opentelemetry.exporter.otlp", "opentelemetry.sdk")
_PREFIX = "distilwatch."
_ASK_S = 5.0


def collector() -> str | None:
    """Where traces are to go; None: nobody asked for any."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp"):
        return None
    return _first(_ENDPOINTS) or None


def hindrance(endpoint: str) -> str:
    """Why no traces can be sent, and how to mend it; "" for nothing."""
    protocol = _first(_PROTOCOLS)
    if protocol not in ("", _PROTOCOL):
        return f"they are sent as {_PROTOCOL}, not {protocol}; set {_PROTOCOLS[0]}={_PROTOCOL}"
    if not endpoint.startswith(("http://", "https://")):
        return f"{endpoint!r} is no address; write it as http://collector:4318"
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ModuleNotFoundError as error:
        return str(missing_extra(error) or error)
    return ""


def reached() -> str:
    """Why the collector takes no spans, asked with none; "" when it does."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    with _quiet():
        try:
            done = OTLPSpanExporter(timeout=_ASK_S).export([])
        except Exception as error:
            return type(error).__name__
    return "" if done is SpanExportResult.SUCCESS else "it refuses them"


def _first(names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := os.environ.get(name, "").strip())), "")


@contextmanager
def traced(warn: Callable[[str], None], **about: str) -> Iterator[None]:
    """Sends the spans of the block, where a collector is named. Never stops what is traced.

    Args:
      warn: says once when traces cannot be sent.
      about: attributes of all spans, such as run_id.
    """
    endpoint = collector()
    if endpoint is None:
        yield
        return
    if why := hindrance(endpoint):
        warn(f"no traces are sent: {why}")
        yield
        return
    with _quiet():
        provider = _provider(warn, about)
        try:
            with heard_by(_listener(provider)):
                yield
        finally:
            provider.shutdown()


def _listener(provider: TracerProvider) -> Any:
    from opentelemetry.trace import Status, StatusCode

    tracer = provider.get_tracer("distilwatch")

    @contextmanager
    def listen(name: str, attributes: Attributes) -> Iterator[None]:
        with tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as own:
            try:
                yield
            except BaseException as error:
                own.set_attribute("error.type", type(error).__name__)
                own.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                own.set_attributes({_PREFIX + key: v for key, v in attributes.items()})

    return listen


def _provider(warn: Callable[[str], None], about: dict[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from pipelines.version import versions

    told = {_PREFIX + key: value for key, value in about.items()}
    told["service.version"] = versions()["distilwatch"]
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
        told["service.name"] = "distilwatch"
    # Ended by us, before the process says its last words.
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(warn)))
    return provider


def _exporter(warn: Callable[[str], None]) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class SaysOnce(SpanExporter):  # type: ignore[misc]
        """A collector that is away is told of once, until it is back."""

        def __init__(self) -> None:
            self._sends = OTLPSpanExporter()
            self._away = False

        def export(self, spans: Any) -> Any:
            why = "it refuses them"
            try:
                done = self._sends.export(spans)
            except Exception as error:
                done, why = SpanExportResult.FAILURE, type(error).__name__
            if done is SpanExportResult.SUCCESS:
                self._away = False
            elif not self._away:
                self._away = True
                warn(f"traces do not arrive at {collector()} ({why}); the run goes on without")
            return done

        def shutdown(self) -> None:
            self._sends.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return bool(self._sends.force_flush(timeout_millis))

    return SaysOnce()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs each failure, with what the collector answered."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
