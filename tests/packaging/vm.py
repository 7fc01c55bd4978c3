"""Runs the blocks of docs/deploy-vm.md in order, on a machine that is thrown away. `systemctl` is the stand-in beside this
file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from throwaway import throwaway

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BIN = Path(os.environ["SEALWIRE_BIN"]).resolve()


def blocks():
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/deploy-vm.md").read_text(), re.M | re.S)


def main():
    place = Path(sys.argv[1])
    throwaway(place)
    work = place / "repository"
    (work / "target/release").mkdir(parents=True)
    (work / "packaging").symlink_to(ROOT / "packaging")
    for program in ("sealwire", "wss-node"):
        (work / "target/release" / program).symlink_to(BIN / program)
    tools = place / "tools"
    tools.mkdir()
    shutil.copy(HERE / "systemctl", tools / "systemctl")
    environment = {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(work), "LANG": "C.UTF-8"}
    all_blocks = blocks()
    assert len(all_blocks) >= 5, "docs/deploy-vm.md has lost its commands"
    for block in all_blocks:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", block], cwd=work, env=environment, capture_output=True, text=True, timeout=180
        )
        if done.returncode:
            for log in sorted(Path("/run").glob("*.log")):
                print(f"-- {log.name}\n{log.read_text()}", file=sys.stderr)
            sys.exit(f"failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        judge(block, done.stdout)
    assert Path("/var/lib/sealwire/live/web/privkey.pem").exists(), "removal took the keys"


def judge(block, said):
    """What the page promises of some blocks."""
    if "sealwire status" in block:
        assert re.search(r"^web +#2 +done .*proven on 1 node", said, re.M), said
        for path, user in (("/var/lib/sealwire", "sealwire"), ("/var/lib/wss-node", "wss-node")):
            assert Path(path).owner() == user and Path(path).stat().st_mode & 0o777 == 0o700, path
        users = {line.split()[0] for line in subprocess.run(
            ["ps", "-eo", "user:32,comm"], capture_output=True, text=True, check=True).stdout.splitlines()
            if line.split()[-1] in ("sealwire", "wss-node")}
        assert users == {"sealwire", "wss-node"}, users


main()
