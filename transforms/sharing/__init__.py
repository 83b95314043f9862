"""Sharing among labs: what is said of a campaign, in which form, and what must not be said."""
