"""Vectors, and the space in which coverage is measured."""
