"""Micro-batching, session windows and session identity."""
