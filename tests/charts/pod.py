"""Runs agent and node as a pod of the chart would: two users, one group, directories as a kubelet makes them, the rendered
configuration, and the commands of the probes. What a cluster adds is not here; users, modes and sockets are."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BIN = Path(os.environ["SEALWIRE_BIN"])
DEADLINE = 60


def rendered():
    command = [Path(os.environ["SEALWIRE_TOOLS"]) / "bin/helm", "template", "edge", ROOT / "charts/sealwire",
               "--kube-version", "1.37.0", "--values", HERE / "values/internal.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [it for it in yaml.safe_load_all(done.stdout) if it]


def directory(root, path, mode, group):
    """As kubelet makes volumes: root's, with the fsGroup and its setgid bit."""
    made = root / path.lstrip("/")
    made.mkdir(parents=True, exist_ok=True)
    os.chown(made, 0, group)
    made.chmod(mode | 0o2000)


class Container:
    """A container's user, group and configuration; programs run without any privilege."""

    def __init__(self, spec, config, program):
        self.context = spec["securityContext"]
        self.spec, self.config, self.program = spec, config, program

    def start(self, arguments, **how):
        command = [BIN / self.program, "--config", self.config, *arguments]
        user, group = self.context["runAsUser"], self.context["runAsGroup"]
        return subprocess.Popen(command, user=user, group=group, extra_groups=[group], env={}, cwd="/", **how)

    def probe(self, name):
        """(exit code, what it says) of the exec of a probe."""
        command = self.spec[name]["exec"]["command"]
        process = self.start(command[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = process.communicate(timeout=self.spec[name]["timeoutSeconds"])
        return process.returncode, said


def eventually(what, question):
    until = time.monotonic() + DEADLINE
    while not question():
        if time.monotonic() > until:
            sys.exit(f"FAILED: not within {DEADLINE} s: {what}")
        time.sleep(0.1)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return numbers


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main():
    if os.geteuid() != 0:
        print("*** THE POD IS NOT TESTED: only root can start programs as two users ***", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
    objects = rendered()
    spec = next(it for it in objects if it["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    texts = {file: text for it in objects if it["kind"] == "ConfigMap" for file, text in it["data"].items()}
    group = spec["securityContext"]["fsGroup"]
    # Not TMPDIR: the path of a socket may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="pod-", dir="/tmp"))
    root.chmod(0o755)
    running = []
    try:
        for path in ("/run/sealwire", "/run/sealwire-admin", "/run/wss-node"):
            directory(root, path, 0o777, group)
        directory(root, "/var/lib/sealwire", 0o770, group)
        wss, node_admin, metrics, http01 = free_ports(4)
        moved = {"0.0.0.0:8443": wss, "0.0.0.0:9090": node_admin, "0.0.0.0:9464": metrics, "0.0.0.0:8080": http01}
        for file, text in texts.items():
            for address, port in moved.items():
                text = text.replace(address, f"127.0.0.1:{port}")
            text = re.sub(r'"(/run/|/var/lib/)', rf'"{root}\1', text)
            (root / file).write_text(text)
        agent = Container(spec["initContainers"][0], root / "sealwire.toml", "sealwire")
        node = Container(spec["containers"][0], root / "wss-node.toml", "wss-node")

        log = (root / "log").open("w")
        code, said = agent.probe("startupProbe")
        assert code != 0, f"the startup probe is good before there is an agent: {said}"
        running.append(agent.start(["run"], stdout=log, stderr=log))
        eventually("the startup probe", lambda: agent.probe("startupProbe")[0] == 0)
        code, said = agent.probe("livenessProbe")
        assert code == 0, said
        running.append(node.start(["run"], stdout=log, stderr=log))
        eventually("the node is ready", lambda: answers(f"http://127.0.0.1:{node_admin}/readyz"))
        assert answers(f"http://127.0.0.1:{metrics}/metrics"), "the agent tells no metrics"

        state = root / "var/lib/sealwire/state"
        assert state.stat().st_mode & 0o077 == 0, "others may look into the state directory"
        for path in (state / "live/web/privkey.pem", root / "run/sealwire-admin/agent/admin.sock"):
            assert path.exists(), f"{path} is not there, so nothing is proven by not reading it"
        asked = Container(node.spec, agent.config, "sealwire").start(["status"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = asked.communicate(timeout=30)
        assert asked.returncode != 0, f"the node's user may ask the agent: {said}"

        # A new pod finds its volume again.
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=DEADLINE)
        running.clear()
        shutil.rmtree(root / "run/sealwire/agent")
        running.append(agent.start(["run"], stdout=log, stderr=log))
        eventually("the startup probe of the next pod", lambda: agent.probe("startupProbe")[0] == 0)
        _, said = agent.probe("startupProbe")
        assert "generation 1" in said, f"the next pod ordered anew: {said}"
    except BaseException:
        print((root / "log").read_text() if (root / "log").exists() else "", file=sys.stderr)
        raise
    finally:
        for process in running:
            process.kill()
            process.wait()
        shutil.rmtree(root, ignore_errors=True)
    print("pod: good")


main()
