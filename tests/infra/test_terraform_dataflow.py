"""infra/terraform/dataflow: format, language, least rights, and agreement with the template.

Google's providers cannot be had offline, so their own checks of arguments are left to `tofu
validate` on a machine that can.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipelines.dataflow.options import job_name
from pipelines.dataflow.parameters import PARAMETERS
from tests.support.terraform import blocks_of

MODULE = Path(__file__).resolve().parents[2] / "infra" / "terraform" / "dataflow"
FILES = sorted(MODULE.glob("*.tf"))
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
CODE = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
# What launcher and workers may do, and nobody should add to without a thought.
WORKER = {
    "roles/artifactregistry.reader",
    "roles/bigquery.dataEditor",
    "roles/bigquery.dataViewer",
    "roles/bigquery.jobUser",
    "roles/bigquery.readSessionUser",
    "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    "roles/compute.networkUser",
    "roles/dataflow.developer",
    "roles/dataflow.worker",
    "roles/iam.serviceAccountUser",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
    "roles/secretmanager.secretAccessor",
    "roles/storage.legacyBucketReader",
    "roles/storage.objectAdmin",
}
# In the whole project, not on one thing of it.
IN_PROJECT = {
    "roles/bigquery.jobUser",
    "roles/bigquery.readSessionUser",
    "roles/dataflow.developer",
    "roles/dataflow.worker",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
}


def blocks(kind: str) -> list[dict[str, Any]]:
    return blocks_of(FILES, kind)


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Resources of a kind by name."""
    found: dict[str, dict[str, Any]] = {}
    for block in blocks("resource"):
        found |= block.get(kind, {})
    return found


def test_every_variable_is_used_and_described_and_none_is_unknown() -> None:
    used = set(re.findall(r"\bvar\.(\w+)", CODE))
    assert used == {name for block in blocks("variable") for name in block}
    for block in blocks("variable") + blocks("output"):
        for name, about in block.items():
            assert len(about.get("description", "")) > 20, name


def test_every_reference_is_to_something_that_is_declared() -> None:
    locals_ = {name for block in blocks("locals") for name in block}
    assert set(re.findall(r"\blocal\.(\w+)", CODE)) == locals_
    declared = {(t, n) for block in blocks("resource") for t, named in block.items() for n in named}
    for kind, name in re.findall(r"\b(google_\w+)\.(\w+)", CODE):
        assert (kind, name) in declared, (kind, name)


def test_the_job_gives_the_template_the_parameters_that_it_has() -> None:
    [job] = resources("google_dataflow_flex_template_job").values()
    given = set(re.findall(r"^ +(\w+) += ", _block("parameters = merge("), re.MULTILINE))
    known = {p.name: p for p in PARAMETERS}
    assert given <= set(known)
    assert {n for n, p in known.items() if not p.optional} <= given
    assert set(known) - given == {"from_time", "to_time"}  # of jobs that are not Terraform's
    assert job["ip_configuration"] == "WORKER_IP_PRIVATE"
    assert "use_runner_v2" in str(job["additional_experiments"])
    name = job["name"].replace("${var.run_id}", "main")
    assert name == job_name("main")


def _block(start: str) -> str:
    """Code from a line on to the bracket that closes it."""
    at = CODE.index(start)
    depth = 0
    for i in range(CODE.index("(", at), len(CODE)):
        depth += {"(": 1, ")": -1}.get(CODE[i], 0)
        if not depth:
            return CODE[at:i]
    raise AssertionError(start)


def test_workers_have_the_roles_that_are_listed_and_each_says_why() -> None:
    roles = set(re.findall(r'"(roles/[\w.]+)"', CODE))
    assert roles == WORKER
    assert not roles & {"roles/owner", "roles/editor", "roles/viewer"}
    assert not re.search(r"\ballUsers\b|\ballAuthenticatedUsers\b", CODE)
    in_project: set[str] = set()
    for about in resources("google_project_iam_member").values():
        in_project |= set(re.findall(r"roles/[\w.]+", str(about["role"])))
    [roles_of_locals] = [b["worker_roles"] for b in blocks("locals") if "worker_roles" in b]
    assert in_project | set(map(str, roles_of_locals.values())) == IN_PROJECT
    lines = TEXT.splitlines()
    for i, line in enumerate(lines):
        if re.search(r'= "roles/', line):
            # Above the role, or above the resource that gives it.
            above = lines[max(0, i - 9) : i]
            assert any(words.lstrip().startswith("#") for words in above), line


def test_workers_have_no_public_address_and_reach_nothing_but_google_and_brokers() -> None:
    for subnet in resources("google_compute_subnetwork").values():
        assert subnet["private_ip_google_access"] is True
    rules = resources("google_compute_firewall")
    assert rules["nowhere_else"]["destination_ranges"] == ["0.0.0.0/0"]
    assert "deny" in rules["nowhere_else"]
    assert not re.search(r"access_config|google_compute_router_nat", CODE)
    [bucket] = resources("google_storage_bucket").values()
    assert bucket["public_access_prevention"] == "enforced"


def test_nothing_secret_is_in_the_state() -> None:
    made = {kind for block in blocks("resource") for kind in block}
    assert {k for k in made if "secret" in k} == {"google_secret_manager_secret_iam_member"}
    assert not [k for k in made if any(w in k for w in ("password", "random_", "tls_", "_key_"))
                and not k.startswith("google_kms_crypto_key_iam")]  # fmt: skip
    assert "google_service_account_key" not in made
    assert "secret_data" not in CODE
    assert 'data "' not in CODE  # which would read values into it
    [secrets] = [b["secrets"] for b in blocks("variable") if "secrets" in b]
    assert "value" not in secrets["type"]
    for block in blocks("variable"):
        for name, about in block.items():
            assert not re.search(r"password|token|credential|private", name), name
            assert not re.search(r"AIza|-----BEGIN|ya29\.", json.dumps(about)), name
