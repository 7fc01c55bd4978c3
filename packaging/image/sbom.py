"""What the programs are made of, as CycloneDX 1.5: from Cargo.lock and `cargo metadata`, nothing that changes by itself."""

import hashlib
import json
import subprocess
import tomllib
import uuid

# The programs of the image.
PACKAGES = ("sealwire-agent", "wss-node")


def metadata(root, target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"image: cargo metadata failed:\n{done.stderr}")
    return json.loads(done.stdout)


def edges(metadata):
    """Of each package those that are linked into it: neither build scripts nor tests."""
    return {
        node["id"]: sorted(it["pkg"] for it in node["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"]))
        for node in metadata["resolve"]["nodes"]
    }


def reachable(edges, roots):
    found, left = set(), list(roots)
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left.extend(edges[one])
    return found


def component(package, checksums):
    name, version = package["name"], package["version"]
    made = {"type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version,
            "purl": f"pkg:cargo/{name}@{version}"}
    if package["license"]:
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


def sbom(root, target, version):
    """The document, as bytes."""
    lock = (root / "Cargo.lock").read_bytes()
    checksums = {(it["name"], it["version"]): it["checksum"]
                 for it in tomllib.loads(lock.decode())["package"] if "checksum" in it}
    known = metadata(root, target)
    packages = {it["id"]: it for it in known["packages"]}
    links = edges(known)
    programs = sorted(it["id"] for it in known["packages"] if it["name"] in PACKAGES and it["id"] in known["workspace_members"])
    if len(programs) != len(PACKAGES):
        raise SystemExit(f"image: the workspace has not all of {', '.join(PACKAGES)}")
    parts = sorted(reachable(links, programs))
    made = {it: component(packages[it], checksums) for it in parts}
    whole = {"type": "application", "bom-ref": f"sealwire@{version}", "name": "sealwire", "version": version}
    depends = [{"ref": whole["bom-ref"], "dependsOn": [made[it]["bom-ref"] for it in programs]}]
    depends += [{"ref": made[it]["bom-ref"], "dependsOn": [made[other]["bom-ref"] for other in links[it]]} for it in parts]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same for the same Cargo.lock.
        "serialNumber": f"urn:uuid:{uuid.UUID(hashlib.sha256(lock).hexdigest()[:32], version=5)}",
        "version": 1,
        "metadata": {"component": whole},
        "components": [made[it] for it in parts],
        "dependencies": depends,
    }
    return (json.dumps(document, indent=1) + "\n").encode()
