"""Rows into BigQuery; docs/bigquery.md explains the choices.

Nothing is imported here, because the modules need Google's libraries.
"""
