"""The traffic light protocol 2.0 as STIX objects: the ids that OASIS gave them."""

from __future__ import annotations

from typing import Any

from transforms.sharing.indicators import Marking

_TLP = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
IDS: dict[Marking, str] = {
    Marking.CLEAR: "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    Marking.GREEN: "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    Marking.AMBER: "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    Marking.AMBER_STRICT: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    Marking.RED: "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
MARKINGS = {name: marking for marking, name in IDS.items()}


def marking_object(marking: Marking) -> dict[str, Any]:
    """The marking definition of a level, the same for everybody."""
    return {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": IDS[marking],
        "created": "2022-10-01T00:00:00.000Z",
        "name": f"TLP:{marking.value.upper()}",
        "extensions": {_TLP: {"extension_type": "property-extension", "tlp_2_0": marking.value}},
    }
