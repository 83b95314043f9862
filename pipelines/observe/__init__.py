"""Metrics for Prometheus, and logs for machines."""
