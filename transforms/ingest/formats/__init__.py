"""What gateways already write, read as events of contract 1.

A format says where its documents keep the fields of the event (its `DEFAULTS`), and how a record
is cut into documents. Which of its places name the account or the payment is often the lab's own
choice, so the places of every field can be set that is not made of a request's messages.
"""

from transforms.ingest.formats.adapter import Adapter, adapter_of, defaults_of, names

__all__ = ["Adapter", "adapter_of", "defaults_of", "names"]
