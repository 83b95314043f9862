"""The bundle: everything that scoring needs, in one folder that is verified before it is used.

```
bundle/
  manifest.json   version, SHA-256 of every file, library versions, feature schema, training summary
  manifest.sig    Ed25519 signature of manifest.json
  capabilities.npz  what the history asked for in each cell
  links.npz       what benign accounts share, and what they ask
  space.npz       projection, centre and codebook of the embedding space
  peers.npz       mean Fourier features of each peer group, where it asks, and models asked
  past.npz        what each account did in the history
  <level>.npz     kinds of use, normal values and calibration scores of a level
  <level>.joblib  fitted detectors of a level
```

Nothing is unpickled before the signature and every hash have been checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from schemas.versions import BUNDLE_FORMAT
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.clusters.signatures import Background
from transforms.coverage import layout
from transforms.coverage.features import COLUMNS, Reference
from transforms.embedding.labels import CapabilityTable
from transforms.embedding.space import EmbeddingSpace
from transforms.scoring import signing
from transforms.scoring.calibration import Calibration
from transforms.scoring.conditioning import Conditioner
from transforms.scoring.detectors import Ensemble
from transforms.scoring.evidence import Evidence
from transforms.scoring.kinds import Kinds
from transforms.scoring.model import ScoringModel
from transforms.scoring.past import Excuses, Past
from transforms.scoring.usual import Usual, usual_of_everyone

FORMAT = BUNDLE_FORMAT
_LIBRARIES = ("numpy", "pyod", "scikit-learn", "joblib")


@dataclass(frozen=True, eq=False)  # no slots: Beam shares it by weak reference
class Bundle:
    """A trained detector.

    Attributes:
      version: twelve hex digits of the hash of all files; stamped on every row it scores.
      space: where vectors fall.
      references: peer group to mean Fourier features; "" is everyone.
      models: level to scoring model.
      training: what it was trained on (counts, times, settings).
      common: ascending uint64, things that benign accounts share and that link nobody.
      background: what benign accounts ask, to compare the signatures of clusters with.
      past: what each account did in the history.
      capabilities: what the history asked for in each cell.
      groups: what was usual for the groups of linked accounts in the history.
      usual: where accounts of each peer group asked; in an older bundle, where everyone did.
    """

    version: str
    space: EmbeddingSpace
    references: Mapping[str, Reference]
    models: Mapping[str, ScoringModel]
    training: Mapping[str, Any]
    common: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    background: Background = field(default_factory=Background)
    past: Past = field(default_factory=Past)
    capabilities: CapabilityTable = field(default_factory=CapabilityTable)
    groups: Excuses = field(default_factory=Excuses)
    usual: Usual = field(default_factory=Usual)

    def reference(self, peer_group: str) -> Reference | None:
        """The peer group's mean features, everyone's where it has none."""
        return self.references.get(peer_group) or self.references.get("")


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _pack(bundle: Bundle) -> dict[str, bytes]:
    files = {
        "space.npz": _npz(
            projection=bundle.space.projection.astype(np.int16),
            centre=bundle.space.centre,
            codebook=bundle.space.codebook,
        ),
        "peers.npz": _npz(
            names=np.array(list(bundle.references), dtype=str),
            means=np.stack([r.mean for r in bundle.references.values()]),
            events=np.array([r.events for r in bundle.references.values()]),
            models=bundle.references[""].models,
            usual_names=np.array(bundle.usual.names, dtype=str),
            usual_shares=bundle.usual.shares.astype(np.float32),
        ),
        "past.npz": _npz(
            account=bundle.past.account, vectors=bundle.past.vectors, mean=bundle.past.mean,
            excuse=bundle.past.excuse, grouped=bundle.groups.account,
            group_excuse=bundle.groups.excuse,
        ),
    }  # fmt: skip
    background = bundle.background
    files["links.npz"] = _npz(
        common=bundle.common, background_sizes=background.sizes, background_cells=background.cells,
        background_counts=background.counts,
    )  # fmt: skip
    files["capabilities.npz"] = _npz(counts=bundle.capabilities.counts)
    for level, model in bundle.models.items():
        groups = list(model.calibration.scores)
        files[f"{level}.npz"] = _npz(
            directions=model.directions,
            kind_columns=model.kinds.columns,
            kind_middle=model.kinds.middle,
            kind_reach=model.kinds.reach,
            kind_centres=model.kinds.centres,
            lines=np.array(model.evidence.names, dtype=str),
            line_mixing=model.evidence.mixing,
            line_middle=model.evidence.middle,
            line_reach=model.evidence.reach,
            line_weight=model.evidence.weight,
            groups=np.array(model.conditioner.groups, dtype=str),
            median=model.conditioner.median,
            spread=model.conditioner.spread,
            middle=model.ensemble.middle,
            reach=model.ensemble.reach,
            calibration_groups=np.array(groups, dtype=str),
            calibration_counts=np.array([len(model.calibration.scores[g]) for g in groups]),
            calibration_scores=np.concatenate([model.calibration.scores[g] for g in groups]),
            calibration_enough=np.array(model.calibration.enough),
            benign=model.benign,
            linked=np.array(model.linked),
            **{f"axis{i}": axis for i, axis in enumerate(model.conditioner.axes)},
        )
        files[f"{level}.joblib"] = model.ensemble.pickled
    return files


def library_versions() -> dict[str, str]:
    """Versions that decide whether pickled detectors can be read."""
    found = {name: version(name) for name in _LIBRARIES}
    return {"python": ".".join(platform.python_version_tuple()[:2]), **found}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def save_bundle(bundle: Bundle, folder: Path, key_file: Path | None = None) -> str:
    """Writes a bundle, all or nothing: a folder is put in place only when it is complete.

    Args:
      bundle: what to write; its own `version` is not used.
      folder: target; an older bundle there is replaced, anything else is refused.
      key_file: private key; by default this user's own, made on first use.

    Returns:
      The version of the written bundle.

    Raises:
      DistilwatchError: when the folder is not a bundle, or cannot be written.
    """
    check_target(folder)
    key = signing.signing_key(key_file)
    files = _pack(bundle)
    hashes = {name: _digest(data) for name, data in sorted(files.items())}
    name = _digest(json.dumps(hashes).encode())[:12]
    manifest = {
        "format": FORMAT,
        "bundle_version": name,
        "layout": layout.LAYOUT_VERSION,
        "embedding": {"model": bundle.space.embedding_model, "dim": bundle.space.dim},
        "levels": {level: list(model.columns) for level, model in bundle.models.items()},
        "libraries": library_versions(),
        "training": dict(bundle.training),
        "files": hashes,
    }
    data = json.dumps(manifest, indent=2, sort_keys=True).encode()
    files |= {"manifest.json": data, "manifest.sig": key.sign(data)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for filename, content in files.items():
                (fresh / filename).write_bytes(content)
            fresh.chmod(0o755)
            if folder.exists():
                old = fresh.with_name(fresh.name + "-old")
                os.rename(folder, old)
                try:
                    os.rename(fresh, folder)
                except OSError:
                    os.rename(old, folder)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise DistilwatchError(
            f"the bundle cannot be written ({error.strerror})",
            str(folder),
            "free some space, or choose a folder that you may write to",
        ) from error
    return name


def check_target(folder: Path) -> None:
    """Raises DistilwatchError when `save_bundle` would overwrite something that is no bundle."""
    if folder.exists() and not (folder / "manifest.json").exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise DistilwatchError(
                "there is something else than a bundle",
                str(folder),
                "choose another --bundle folder",
            )
        folder.rmdir()


def _refuse(what: str, folder: Path, mend: str) -> DistilwatchError:
    return DistilwatchError(f"bundle refused: {what}", str(folder), mend)


def signed_manifest(folder: Path, trusted: list[Ed25519PublicKey] | None = None) -> bytes:
    """The bytes of a bundle's manifest, after its signature was checked.

    Args:
      folder: of the bundle.
      trusted: public keys to accept; by default those of `signing.trusted_keys()`.

    Raises:
      DistilwatchError: there is no bundle, or nobody who is trusted has signed it.
    """
    manifest_path = folder / "manifest.json"
    if not manifest_path.is_file():
        raise DistilwatchError(
            "no bundle there", str(folder), "make one with `distilwatch train --bundle …`"
        )
    again = "restore it from where it came, or train again"
    data = manifest_path.read_bytes()
    signature = folder / "manifest.sig"
    keys = signing.trusted_keys() if trusted is None else trusted
    if not signature.is_file() or not signing.is_signed(data, signature.read_bytes(), keys):
        raise _refuse(
            "its manifest is not signed by a key that is trusted here",
            folder,
            f"{again}; or copy the signer's public key to {signing.home() / 'trusted'}",
        )
    return data


def verify_bundle(
    folder: Path, trusted: list[Ed25519PublicKey] | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Checks signature, hashes and fit, and returns the manifest and the files' bytes.

    Raises:
      DistilwatchError: saying what is wrong and how to mend it.
    """
    return _verified_files(folder, signed_manifest(folder, trusted))


def _verified_files(folder: Path, data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Checks that everything fits a manifest that is already trusted."""
    again = "restore it from where it came, or train again"
    manifest: dict[str, Any] = json.loads(data)
    if manifest.get("format") != FORMAT or manifest.get("layout") != layout.LAYOUT_VERSION:
        raise _refuse("it was made by another version of distilwatch", folder, "train again")
    wrong = [
        f"{name} {manifest['libraries'].get(name)} (here {here})"
        for name, here in library_versions().items()
        if manifest["libraries"].get(name) != here
    ]
    if wrong:
        raise _refuse(
            f"it was made with {', '.join(wrong)}", folder, "train again, or install these versions"
        )
    for level, columns in manifest["levels"].items():
        here = CLUSTER_FEATURES if level == "cluster" else COLUMNS
        if columns != [feature.name for feature in here]:
            raise _refuse(
                f"its {level} features are not those of this version", folder, "train again"
            )
    known = {"manifest.json", "manifest.sig", *manifest["files"]}
    strangers = sorted(p.name for p in folder.iterdir() if p.name[0] != "." and p.name not in known)
    if strangers:
        raise _refuse(f"{strangers[0]} does not belong to it", folder, "take it out of the folder")
    files: dict[str, bytes] = {}
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise _refuse(f"{name} is missing", folder, again)
        files[name] = path.read_bytes()
        if _digest(files[name]) != expected:
            raise _refuse(f"{name} was changed after it was signed", folder, again)
    return manifest, files


def read_verified(folder: Path, manifest: bytes) -> Bundle:
    """Loads a bundle whose manifest, given here, was verified before (by the launcher of a job).

    Raises:
      DistilwatchError: when a file was changed, or library versions differ on this worker.
    """
    return unpack(*_verified_files(folder, manifest))


def load_bundle(folder: Path | str, trusted: list[Ed25519PublicKey] | None = None) -> Bundle:
    """Verifies and loads a bundle.

    Args:
      folder: of the bundle.
      trusted: public keys to accept; by default those of `signing.trusted_keys()`.

    Raises:
      DistilwatchError: when the bundle is missing, changed, unsigned, or does not fit.
    """
    manifest, files = verify_bundle(Path(folder), trusted)
    return unpack(manifest, files)


def unpack(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Builds a bundle from files that `verify_bundle` has accepted."""

    def arrays(name: str) -> Mapping[str, Any]:
        loaded: Mapping[str, Any] = np.load(io.BytesIO(files[name]), allow_pickle=False)
        return loaded

    space = arrays("space.npz")
    peers = arrays("peers.npz")
    links = arrays("links.npz")
    past = arrays("past.npz")
    asked_models = peers["models"]
    models = {}
    for level, columns in manifest["levels"].items():
        stored = arrays(f"{level}.npz")
        ends = np.cumsum(stored["calibration_counts"])
        scores = np.split(stored["calibration_scores"], ends[:-1])
        models[level] = ScoringModel(
            level,
            tuple(columns),
            stored["directions"],
            Kinds(
                stored["kind_columns"],
                stored["kind_middle"],
                stored["kind_reach"],
                stored["kind_centres"],
            ),
            Evidence(
                tuple(str(name) for name in stored["lines"]),
                stored["line_mixing"],
                stored["line_middle"],
                stored["line_reach"],
                stored["line_weight"],
            ),
            Conditioner(
                tuple(str(g) for g in stored["groups"]),
                tuple(stored[f"axis{i}"] for i in range(stored["median"].ndim - 2)),
                stored["median"],
                stored["spread"],
            ),
            Ensemble(
                files[f"{level}.joblib"],
                stored["middle"],
                stored["reach"],
            ),
            Calibration(
                {str(g): s for g, s in zip(stored["calibration_groups"], scores, strict=True)},
                int(stored["calibration_enough"]),
            ),
            # Bundles of before have none, or do not say which are linked.
            stored["benign"] if "benign" in stored else np.empty((0, 0), np.float32),
            int(stored["linked"]) if "linked" in stored else 0,
        )
    capabilities = CapabilityTable(arrays("capabilities.npz")["counts"])
    if "usual_names" in peers:
        names = tuple(str(name) for name in peers["usual_names"])
        usual = Usual(names, peers["usual_shares"].astype(np.float64))
    else:  # of before
        usual = usual_of_everyone(capabilities.counts.sum(axis=1))
    return Bundle(
        manifest["bundle_version"],
        EmbeddingSpace(
            manifest["embedding"]["model"],
            manifest["embedding"]["dim"],
            space["projection"].astype(np.float32),
            space["centre"],
            space["codebook"],
        ),
        {
            str(name): Reference(mean, float(events), asked_models)
            for name, mean, events in zip(
                peers["names"], peers["means"], peers["events"], strict=True
            )
        },
        models,
        manifest["training"],
        links["common"],
        Background(
            links["background_sizes"], links["background_cells"], links["background_counts"]
        ),
        Past(past["account"], past["excuse"], past["vectors"], past["mean"]),
        capabilities,
        Excuses(past["grouped"], past["group_excuse"]),
        usual,
    )
