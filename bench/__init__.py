"""Measurements of throughput and memory; `docs/performance.md` has the figures."""
