"""The contracts: events in, tables out."""
