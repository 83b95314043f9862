"""Terraform's modules give resources only arguments that Google's provider has.

The provider cannot be had here: its registry cannot be reached, and the Go module proxy has nothing
newer than version 1. So arguments were looked up by hand, in November 2026, in the field lists
(`google/services/*/resource_*_meta.yaml`) and pages (`website/docs/r`) of
github.com/hashicorp/terraform-provider-google, and are kept in `provider_arguments.json`: look a
new one up before you add it there. What is in MEMBERS, OTHERS and PLAIN is short and was not looked
up. Values, and what is required, only `tofu validate` can tell.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.terraform import arguments_of

MODULES = Path(__file__).resolve().parents[2] / "infra" / "terraform"
LOOKED_UP: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("provider_arguments.json").read_text(encoding="utf-8")
)
MEMBERS = {"member", "role", "project"}
OTHERS = {
    "google_artifact_registry_repository_iam_member": {"location", "repository"},
    "google_bigquery_datapolicy_data_policy_iam_member": {"data_policy_id", "location"},
    "google_bigquery_dataset_iam_member": {"dataset_id"},
    "google_bigquery_table_iam_member": {"dataset_id", "table_id"},
    "google_compute_subnetwork_iam_member": {"subnetwork"},
    "google_data_catalog_policy_tag_iam_member": {"policy_tag"},
    "google_kms_crypto_key_iam_member": {"crypto_key_id"},
    "google_project_iam_member": set(),
    "google_secret_manager_secret_iam_member": {"secret_id"},
    "google_service_account_iam_member": {"service_account_id"},
    "google_storage_bucket_iam_member": {"bucket"},
}
PLAIN = {
    "google_compute_network": {"auto_create_subnetworks", "name", "project"},
    "google_data_catalog_policy_tag": {"description", "display_name", "taxonomy"},
    "google_dns_record_set": {"managed_zone", "name", "project", "rrdatas", "ttl", "type"},
    "google_service_account": {"account_id", "display_name", "project"},
    "google_storage_bucket_object": {"bucket", "content_type", "name", "source"},
}


@pytest.mark.parametrize("module", ["bigquery", "dataflow"])
def test_only_arguments_that_were_looked_up_are_given(module: str) -> None:
    given = arguments_of(sorted((MODULES / module).glob("*.tf")))
    assert given
    for kind, arguments in given.items():
        if kind in OTHERS:
            assert arguments <= OTHERS[kind] | MEMBERS, kind
        else:
            assert arguments <= PLAIN.get(kind, set(LOOKED_UP.get(kind, ()))), kind


def test_none_is_listed_that_nobody_gives() -> None:
    given: dict[str, set[str]] = {}
    for module in ("bigquery", "dataflow"):
        for kind, arguments in arguments_of(sorted((MODULES / module).glob("*.tf"))).items():
            given.setdefault(kind, set()).update(arguments)
    assert {kind: set(names) for kind, names in LOOKED_UP.items()} == {
        kind: given[kind] for kind in LOOKED_UP
    }
    assert set(given) == {*LOOKED_UP, *OTHERS, *PLAIN}
