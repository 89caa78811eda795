"""Makes an image of folders, without a daemon: an OCI archive as `ctr images import` takes it.

image_archive.py REGISTRY/NAME:TAG OUT.tar FOLDER... [--entrypoint A,B] [--env K=V]... [--user UID] [--workdir DIR]

Each folder is a layer, later ones over earlier ones; all files belong to root and have no time, so that equal folders
give equal layers, of which containerd keeps one. A folder may be the upper one of an overlay: what it hides is hidden.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def impersonal(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.mtime = 0
    member.uname = member.gname = ""
    if (
        member.ischr() and member.devmajor == member.devminor == 0
    ):  # an overlay's mark of a deleted file, and an image's
        folder, _, name = member.name.rpartition("/")
        member.name, member.type = f"{folder}/.wh.{name}".lstrip("/"), tarfile.REGTYPE
    return member


def write_layer(folder: Path, to: Path) -> str:
    """The digest of the layer."""
    with tarfile.open(to, "w") as layer:
        for path in sorted(folder.iterdir()):
            layer.add(path, arcname=path.name, filter=impersonal)
    with to.open("rb") as written:
        return "sha256:" + hashlib.file_digest(written, "sha256").hexdigest()


class Archive:
    def __init__(self, out: Path) -> None:
        self.out = out
        self.tar = tarfile.open(out, "w")  # noqa: SIM115 - closed by close()

    def file(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))

    def document(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.file(f"blobs/sha256/{digest}", data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}.v1+json",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    def layer(self, folder: Path) -> dict[str, Any]:
        written = self.out.with_suffix(".layer")
        digest = write_layer(folder, written)
        self.tar.add(written, arcname="blobs/" + digest.replace(":", "/"))
        size = written.stat().st_size
        written.unlink()
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}

    def close(self) -> None:
        self.tar.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--entrypoint")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--user", default="")
    parser.add_argument("--workdir", default="")
    asked = parser.parse_args()

    archive = Archive(asked.out)
    layers = [archive.layer(folder) for folder in asked.folders]
    run = {"Env": [f"PATH={PATH}", *asked.env], "User": asked.user, "WorkingDir": asked.workdir}
    if asked.entrypoint:
        run["Entrypoint"] = asked.entrypoint.split(",")
    config = archive.document(
        "config",
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        },
    )
    kind = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    manifest = archive.document("manifest", {**kind, "config": config, "layers": layers})
    manifest["annotations"] = {"io.containerd.image.name": asked.name}
    archive.file("index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode())
    archive.file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    archive.close()


if __name__ == "__main__":
    main()
