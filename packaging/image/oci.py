"""Writes an image as an OCI archive: one layer, not compressed (a compressor of another version would give other bytes), all
owned by root, sorted, of one time."""

import hashlib
import io
import json
import tarfile
from datetime import datetime, timezone

LAYOUT = {"imageLayoutVersion": "1.0.0"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def archive(files, time):
    """A tar of {path: (mode, bytes)}, with the directories above."""
    above = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(above | set(files)):
            entry = tarfile.TarInfo(path)
            entry.mtime = time
            if path in files:
                entry.mode, content = files[path]
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.mode, entry.type = 0o755, tarfile.DIRTYPE
                tar.addfile(entry)
    return buffer.getvalue()


def image(files, time, architecture, labels, name):
    """The archive, and the digest of its manifest."""
    blobs = {}

    def descriptor(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = (0o644, content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def as_json(value):
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()

    layer = descriptor(LAYER, archive(files, time))
    created = datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": "65532:65532",
            "Env": ["PATH=/usr/bin"],
            "Cmd": ["/usr/bin/sealwire", "run"],
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created": created, "created_by": "packaging/image/build"}],
    }
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, as_json(config)), "layers": [layer]}
    top = descriptor(MANIFEST, as_json(manifest))
    top["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [top]}
    blobs["index.json"] = (0o644, as_json(index))
    blobs["oci-layout"] = (0o644, as_json(LAYOUT))
    return archive(blobs, time), top["digest"]
