"""What the programs are made of, as CycloneDX 1.5: from Cargo.lock and what cargo tells, nothing that changes by itself."""

import hashlib
import json
import re
import subprocess
import tomllib
import uuid

# The programs of the image.
PACKAGES = ("sealwire-agent", "wss-node")


def cargo(root, *arguments):
    command = ["cargo", arguments[0], "--locked", *arguments[1:]]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"image: cargo {arguments[0]} failed:\n{done.stderr}")
    return done.stdout


def links(root, target):
    """{(name, version): those linked into it}: with the features that are really built, which `cargo metadata` does not
    tell, and neither build scripts, macros nor tests."""
    arguments = [it for package in PACKAGES for it in ("-p", package)]
    said = cargo(root, "tree", "--edges", "normal,no-proc-macro", "--target", target, "--prefix", "depth", *arguments)
    found, above = {}, []
    for line in filter(None, said.splitlines()):
        depth, name, version = re.match(r"(\d+)(\S+) v(\S+)", line).groups()
        one = (name, version)
        del above[int(depth):]
        found.setdefault(one, set())
        if above:
            found[above[-1]].add(one)
        above.append(one)
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
    described = json.loads(cargo(root, "metadata", "--format-version", "1", "--filter-platform", target))["packages"]
    packages = {(it["name"], it["version"]): it for it in described}
    linked = links(root, target)
    parts = sorted(linked)
    programs = [it for it in parts if it[0] in PACKAGES]
    made = {it: component(packages[it], checksums) for it in parts}
    whole = {"type": "application", "bom-ref": f"sealwire@{version}", "name": "sealwire", "version": version}
    depends = [{"ref": whole["bom-ref"], "dependsOn": [made[it]["bom-ref"] for it in programs]}]
    depends += [{"ref": made[it]["bom-ref"], "dependsOn": [made[on]["bom-ref"] for on in sorted(linked[it])]} for it in parts]
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
