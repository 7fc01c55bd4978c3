"""Installs, upgrades, removes and purges the Debian package by dpkg, on a machine that is thrown away."""

import os
import subprocess
import sys
from pathlib import Path

from throwaway import throwaway

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = Path("/etc/sealwire/sealwire.toml")
KEY = Path("/var/lib/sealwire/certificates/web/key")
UNITS = Path("/usr/lib/systemd/system")


def said(*command, **settings):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run([str(it) for it in command], env=environment | settings, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def installed():
    status = subprocess.run(["dpkg-query", "-W", "-f", "${Status} ${Version}", "sealwire"], capture_output=True, text=True)
    return status.stdout


def state():
    """As the agent leaves it."""
    KEY.parent.mkdir(parents=True)
    KEY.write_text("precious")


def main():
    place = Path(sys.argv[1])
    packages = sys.argv[2:]
    # In the namespace /var/lib/dpkg is ours as well.
    throwaway(place)
    old, new = packages

    said("dpkg", "--install", old)
    assert installed() == "install ok installed 1.0", installed()
    for program in ("sealwire", "wss-node"):
        assert "sound" in said(program, "config", "check"), program
        said("man", "--warnings", "-E", "UTF-8", "-l", f"/usr/share/man/man1/{program}.1.gz")
        said("bash", "-n", f"/usr/share/bash-completion/completions/{program}")
        assert (UNITS / f"{program}.service").exists()
        said("id", program)
    assert Path("/etc/sealwire/secrets").stat().st_mode & 0o777 == 0o700
    env = Path("/etc/sealwire/sealwire.env").read_text()
    assert env == f"SEALWIRE_DELIVERY__ALLOW_UIDS=[{said('id', '-u', 'wss-node').strip()}]\n", env
    assert "sealwire" in said("id", "-nG", "wss-node").split(), "the node is not in the group of the sockets"
    # Everything that the package brought is what it says it is.
    assert not said("dpkg", "--verify", "sealwire")

    # An upgrade keeps what the operator changed, and takes the new programs.
    CONFIG.write_text(CONFIG.read_text() + "\n# ours\n")
    state()
    said("dpkg", "--install", new)
    assert installed() == "install ok installed 2.0", installed()
    assert CONFIG.read_text().endswith("# ours\n") and KEY.exists()

    said("dpkg", "--remove", "sealwire")
    assert installed().startswith("deinstall ok config-files"), installed()
    assert not Path("/usr/bin/sealwire").exists() and not (UNITS / "sealwire.service").exists()
    assert CONFIG.exists() and KEY.exists()

    told = said("dpkg", "--purge", "sealwire")
    assert KEY.exists(), "a purge took the keys without being asked"
    assert "SEALWIRE_PURGE_KEYS=yes" in told, told
    assert not CONFIG.exists() and not Path("/etc/sealwire/sealwire.env").exists()

    # Asked, it takes them; and a machine that had it before can have it again.
    said("dpkg", "--install", new)
    assert KEY.exists()
    said("dpkg", "--purge", "sealwire", SEALWIRE_PURGE_KEYS="yes")
    assert not Path("/var/lib/sealwire").exists() and not Path("/etc/sealwire").exists()
    assert not installed().startswith("install"), installed()


main()
print("deb: good")
