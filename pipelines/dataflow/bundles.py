"""Bundles in a bucket: put there under their own digest, and fetched by every worker.

A bundle is not part of the image, because it changes more often than code; and it is not in a
folder that workers share, because Dataflow's workers share none. The image has the keys of who is
trusted instead: whoever can write to the bucket cannot make workers run another bundle, because the
launcher checks its signature, and workers the digest that the launcher told them.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from schemas.errors import DistilwatchError
from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import VerifiedBundle


@dataclass(frozen=True)
class BucketBundle(VerifiedBundle):
    """A verified bundle that workers fetch from a bucket.

    Attributes:
      folder: gs://bucket/folder, or a path of any other file system that Beam knows.
      manifest_sha256: as of `VerifiedBundle`.
    """

    def load(self) -> Bundle:
        """Fetches the bundle, once for each machine, and loads it.

        Raises:
          DistilwatchError: as of `VerifiedBundle.load`, or it cannot be fetched.
        """
        local = Path(tempfile.gettempdir()) / f"distilwatch-bundle-{self.manifest_sha256[:32]}"
        if not (local / "manifest.json").is_file():
            download(self.folder, local)
        return VerifiedBundle(str(local), self.manifest_sha256).load()


def download(source: str, target: Path) -> None:
    """Copies a bundle's files into a folder, which is there as a whole or not at all.

    Raises:
      DistilwatchError: there is no bundle, or it cannot be read.
    """
    try:
        found = FileSystems.match([source.rstrip("/") + "/*"])[0].metadata_list
    except Exception as error:
        raise DistilwatchError(
            f"the bundle cannot be read ({error})", source, "check its name, and who may read it"
        ) from None
    names = {entry.path.rsplit("/", 1)[-1]: entry.path for entry in found}
    if "manifest.json" not in names:
        raise DistilwatchError(
            "no bundle there", source, "give the folder that has its manifest.json"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    for name, path in names.items():
        with FileSystems.open(path) as file, (partial / name).open("wb") as out:
            shutil.copyfileobj(file, out)
    try:
        partial.rename(target)
    except OSError:  # another process of this machine was first
        shutil.rmtree(partial)


def upload(folder: Path, into: str) -> str:
    """Puts a verified bundle into a bucket, under the digest of its manifest; returns where.

    What is there under that name is the same bundle, because workers check the digest; so it is not
    written again.
    """
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    target = f"{into.rstrip('/')}/bundles/{digest[:32]}"
    if FileSystems.exists(f"{target}/manifest.json"):
        return target
    if "://" not in target:
        Path(target).mkdir(parents=True, exist_ok=True)
    # The manifest last: where it is, all is.
    files = sorted(folder.iterdir(), key=lambda path: (path.name == "manifest.json", path.name))
    for path in files:
        with path.open("rb") as file, FileSystems.create(f"{target}/{path.name}") as out:
            shutil.copyfileobj(file, out)
    return target
