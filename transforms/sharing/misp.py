"""Indicators as a MISP event, in the form that MISP imports and PyMISP reads.

MISP has no types for what we share: attributes are of type `other` with the kind in their comment,
and payloads are attachments. Ids are those of the STIX objects, so that a second import changes
what is there instead of adding to it; what was taken back is in it as deleted.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.errors import DistilwatchError, not_installed
from transforms.sharing.indicators import NAMESPACE, Indicator, Marking
from transforms.sharing.stix import identity_id

# Distribution in MISP: 0 this organisation, 1 this community, 2 connected ones, 3 everybody.
_DISTRIBUTION = {
    Marking.RED: 0,
    Marking.AMBER_STRICT: 0,
    Marking.AMBER: 1,
    Marking.GREEN: 2,
    Marking.CLEAR: 3,
}


def misp_event(indicators: Sequence[Indicator]) -> dict[str, Any]:
    """One event with an attribute for each indicator; one that was taken back is a deleted one.

    Args:
      indicators: at least one; the event gets the strictest of their markings, and the lab of the
        first for its organisation.

    Raises:
      DistilwatchError: there are none, or pymisp is not installed.
    """
    try:
        from pymisp import MISPEvent, MISPOrganisation
    except ImportError as error:
        raise not_installed("MISP export", "sharing", "pymisp") from error
    kept = sorted(indicators, key=lambda i: i.indicator_id)
    if not kept:
        raise DistilwatchError("there are no indicators", "MISP export", "publish or poll first")
    strictest = max((one.marking for one in kept), key=lambda m: m.strictness)
    event = MISPEvent()
    names = sorted({f"{one.provider}/{one.campaign}" for one in kept})
    event.uuid = str(uuid.uuid5(NAMESPACE, "\x1f".join(("misp", *names))))
    event.info = f"Adversarial distillation: {', '.join(names)}"[:500]
    event.distribution = _DISTRIBUTION[strictest]
    event.threat_level_id, event.analysis = 2, 2
    event.date = datetime.fromtimestamp(min(i.valid_from_ms for i in kept) / 1000, UTC).date()
    event.timestamp = datetime.fromtimestamp(max(i.modified_ms for i in kept) / 1000, UTC)
    event.Orgc = MISPOrganisation()
    event.Orgc.from_dict(name=kept[0].provider, uuid=identity_id(kept[0].provider)[-36:])
    event.add_tag(f"tlp:{strictest.value}")
    for one in kept:
        _add(event, one)
    plain: dict[str, Any] = event.to_dict()
    return {"Event": _jsonable(plain)}


def _add(event: Any, one: Indicator) -> None:
    about: dict[str, Any] = {
        "uuid": one.indicator_id.removeprefix("indicator--"),
        "comment": f"{one.kind.value} of {one.provider}, confidence {one.confidence}: {one.method}",
        "distribution": _DISTRIBUTION[one.marking],
        "to_ids": False,
        "timestamp": one.modified_ms // 1000,
        "first_seen": datetime.fromtimestamp(one.valid_from_ms / 1000, UTC),
    }
    if one.valid_until_ms is not None:
        about["last_seen"] = datetime.fromtimestamp(one.valid_until_ms / 1000, UTC)
    if one.kind.compared:
        about |= {"type": "attachment", "category": "External analysis"}
        about |= {
            "value": f"{one.kind.value}-{one.campaign}.json",
            "data": base64.b64encode(one.payload).decode(),
        }
    else:
        about |= {"type": "other", "category": "Other", "value": f"{one.kind.value}:{one.value}"}
    attribute = event.add_attribute(**about)
    attribute.add_tag(f"tlp:{one.marking.value}")
    if one.revoked:
        attribute.delete()


def _jsonable(value: Any) -> Any:
    """PyMISP's own objects as plain values."""
    import json

    from pymisp.abstract import pymisp_json_default

    return json.loads(json.dumps(value, default=pymisp_json_default, sort_keys=True))
