"""Rows out: DuckDB, Parquet and Kafka."""
