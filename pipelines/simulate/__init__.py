"""Labelled traffic to try things on."""
