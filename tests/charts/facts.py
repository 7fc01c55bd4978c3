"""What must hold of every rendered pod. Pure: objects in, complaints out."""

AGENT, TOKEN = "sealwire", "serviceAccountToken"
# What the agent alone may mount.
AGENTS_OWN = ("sealwire-state", "sealwire-admin", "sealwire-token", "sealwire-config", "sealwire-secret-", "sealwire-file-")


def pods(objects):
    """(name, pod spec, volume claim templates) of everything that makes pods."""
    for it in objects:
        name = f"{it['kind']} {it['metadata']['name']}"
        if it["kind"] == "Pod":
            yield name, it["spec"], []
        elif it["kind"] in ("Deployment", "StatefulSet"):
            yield name, it["spec"]["template"]["spec"], it["spec"].get("volumeClaimTemplates", [])


def judge(objects):
    """All complaints about these objects."""
    complaints = []
    for name, spec, claims in pods(objects):
        complaints += [f"{name}: {it}" for it in pod(spec, {claim["metadata"]["name"] for claim in claims})]
    return complaints


def pod(spec, claims):
    containers = spec.get("initContainers", []) + spec["containers"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    yield from restricted(spec, containers)
    if spec.get("automountServiceAccountToken") is not False:
        yield "a token of the service account is mounted into every container"
    mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}
    for name in mounted - set(volumes) - claims:
        yield f"mounts {name}, which is no volume"
    for name in (set(volumes) | claims) - mounted:
        yield f"volume {name} is mounted nowhere"
    for container in containers:
        yield from (f"{container['name']}: {it}" for it in alone(container, volumes))
    agents = [container for container in containers if container["name"] == AGENT]
    if agents:
        yield from pair(spec, agents[0], containers, volumes, claims)


def restricted(spec, containers):
    """Pod Security Standards, profile "restricted"; each container says so for itself."""
    if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"):
        yield "uses namespaces of the host"
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        if not (set(volume) - {"name"}) <= allowed:
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in containers:
        context = container.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for key, value in wanted.items():
            if context.get(key) != value:
                yield f"{container['name']}: securityContext.{key} is {context.get(key)}, not {value}"
        if not context.get("runAsUser") or not context.get("runAsGroup"):
            yield f"{container['name']}: no user or group, or root"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{container['name']}: no limit on memory"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{container['name']}: a port of the host"


def alone(container, volumes):
    """What one container may not have."""
    for variable in container.get("env", []):
        if "secretKeyRef" in variable.get("valueFrom", {}):
            yield f"{variable['name']}: a secret in the environment"
    if container["name"] == AGENT:
        return
    for mount in container.get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        if mount["name"].startswith(AGENTS_OWN):
            yield f"mounts {mount['name']}, which is the agent's alone"
        if any(TOKEN in source for source in volume.get("projected", {}).get("sources", [])):
            yield "mounts a token of the service account"


def pair(spec, agent, containers, volumes, claims):
    """Agent and server: two users, one group, a socket in memory, in this order."""
    if agent.get("restartPolicy") != "Always" or spec["initContainers"][0] is not agent:
        yield "the agent is not the first native sidecar"
    if "exec" not in agent.get("startupProbe", {}):
        yield "the agent has no startupProbe: the server would not wait for it"
    run = volumes.get("sealwire-run", {}).get("emptyDir", {})
    if run.get("medium") != "Memory" or not run.get("sizeLimit"):
        yield "the directory of the socket is not in memory, or without a limit"
    if "sealwire-state" not in set(volumes) | claims:
        yield "the agent has no state directory"
    group = spec.get("securityContext", {}).get("fsGroup")
    if spec.get("securityContext", {}).get("fsGroupChangePolicy") != "OnRootMismatch":
        yield "each start would open the agent's keys to the group"
    users = [container["securityContext"]["runAsUser"] for container in containers]
    if len(set(users)) != len(users):
        yield "two containers run as one user"
    if {container["securityContext"]["runAsGroup"] for container in containers} != {group}:
        yield "not everybody has the group of the socket"
    for container in containers:
        if container is not agent and not any(
            mount["name"] == "sealwire-run" and mount.get("readOnly") for mount in container.get("volumeMounts", [])
        ):
            yield f"{container['name']} does not see the socket, or may write beside it"


# Each breaks one fact in a sound pod of agent and server; a judge that lets one pass is none.
def _set(container, key, value):
    container["securityContext"][key] = value


BREAKS = {
    "a token of the service account": lambda spec: spec.pop("automountServiceAccountToken"),
    "the agent's alone": lambda spec: _mount(spec, "sealwire-state"),
    "mounts a token": lambda spec: _token(spec),
    "a secret in the environment": lambda spec: spec["containers"][0].update(
        env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {}}}]
    ),
    "allowPrivilegeEscalation": lambda spec: _set(spec["containers"][0], "allowPrivilegeEscalation", True),
    "readOnlyRootFilesystem": lambda spec: _set(spec["initContainers"][0], "readOnlyRootFilesystem", False),
    "runAsNonRoot": lambda spec: spec["containers"][0]["securityContext"].pop("runAsNonRoot"),
    "capabilities": lambda spec: _set(spec["initContainers"][0], "capabilities", {}),
    "seccompProfile": lambda spec: spec["containers"][0]["securityContext"].pop("seccompProfile"),
    "no user or group": lambda spec: _set(spec["containers"][0], "runAsUser", 0),
    "no limit on memory": lambda spec: spec["containers"][0].pop("resources"),
    "namespaces of the host": lambda spec: spec.update(hostNetwork=True),
    "a port of the host": lambda spec: spec["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "kind that is not allowed": lambda spec: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "which is no volume": lambda spec: spec["volumes"].pop(0),
    "is mounted nowhere": lambda spec: spec["volumes"].append({"name": "x", "emptyDir": {}}),
    "not the first native sidecar": lambda spec: spec["initContainers"][0].pop("restartPolicy"),
    "no startupProbe": lambda spec: spec["initContainers"][0].pop("startupProbe"),
    "not in memory": lambda spec: _volume(spec, "sealwire-run").update(emptyDir={}),
    "open the agent's keys": lambda spec: spec["securityContext"].pop("fsGroupChangePolicy"),
    "run as one user": lambda spec: _set(spec["containers"][0], "runAsUser", 65532),
    "the group of the socket": lambda spec: _set(spec["containers"][0], "runAsGroup", 65533),
    "does not see the socket": lambda spec: spec["containers"][0].update(
        volumeMounts=[it for it in spec["containers"][0]["volumeMounts"] if it["name"] != "sealwire-run"]
    ),
}


def _mount(spec, name):
    spec["containers"][0]["volumeMounts"].append({"name": name, "mountPath": "/x"})


def _volume(spec, name):
    return next(volume for volume in spec["volumes"] if volume["name"] == name)


def _token(spec):
    spec["volumes"].append({"name": "other", "projected": {"sources": [{TOKEN: {"path": "token"}}]}})
    _mount(spec, "other")
