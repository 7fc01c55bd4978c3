"""Renders the charts and judges what comes out: tests/charts/run."""

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import facts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART, LIBRARY = ROOT / "charts/sealwire", ROOT / "charts/sealwire-sidecar"
EXAMPLE, KUSTOMIZE = ROOT / "charts/examples/own-deployment", ROOT / "charts/kustomize/example"
TOOLS, BIN = Path(os.environ["SEALWIRE_TOOLS"]), Path(os.environ["SEALWIRE_BIN"])
# As tests/tools/install has schemas of: the oldest with native sidecars switched on, and the newest.
VERSIONS = ("1.29.0", "1.37.0")
failures = 0


def check(good, what, detail=""):
    """Counts and tells."""
    global failures
    if not good:
        failures += 1
        print(f"FAILED {what}\n{detail}".rstrip(), flush=True)


def run(*command, text=None, **environment):
    """(exit code, standard output, standard error) within a minute."""
    done = subprocess.run(
        [str(it) for it in command], input=text, capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def helm(command, chart, *arguments):
    return run(TOOLS / "bin/helm", command, *arguments, chart)


def template(chart, *arguments, version=VERSIONS[-1]):
    return run(TOOLS / "bin/helm", "template", "edge", chart, "--namespace", "prod", "--kube-version", version, *arguments)


def kubeconform(text, version, what):
    at = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
    code, out, err = run(
        TOOLS / "bin/kubeconform", "-strict", "-summary", "-kubernetes-version", version,
        "-schema-location", f"{TOOLS}/charts/schemas/{version}/{at}", "-schema-location", f"{TOOLS}/charts/crds/{at}",
        text=text,
    )
    found = re.search(r"Valid: (\d+), Invalid: 0, Errors: 0, Skipped: 0", out)
    check(code == 0 and found and int(found[1]) > 0, f"{what}: kubeconform {version}", out + err)


def configurations(objects, what):
    """Our binaries load what was rendered for them; files that it names are there as a kubelet would make them."""
    seen = set()
    for it in objects:
        for file, text in (it.get("data") or {}).items() if it["kind"] == "ConfigMap" else ():
            program = {"sealwire.toml": "sealwire", "wss-node.toml": "wss-node"}.get(file)
            if program:
                seen.add(program)
                loads(program, text, f"{what}: {file}")
    check(seen == {"sealwire", "wss-node"}, f"{what}: a configuration is missing", str(seen))


def loads(program, text, what):
    with tempfile.TemporaryDirectory() as directory:
        for path in set(re.findall(r"/etc/sealwire/[\w./-]+", text)):
            file = Path(directory + path)
            file.parent.mkdir(parents=True, exist_ok=True)
            run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{file}.key")
            public = run("openssl", "ec", "-in", f"{file}.key", "-pubout")[1]
            file.write_text(public if file.suffix == ".pem" else "0123456789abcdef" * 4 + "\n")
            file.chmod(0o440)
        file = Path(directory) / "config.toml"
        file.write_text(text.replace("/etc/sealwire/", f"{directory}/etc/sealwire/"))
        code, out, err = run(BIN / program, "--config", file, "config", "check")
        check(code == 0, f"{what} is not sound", out + err + text)


def metrics_of(expression):
    """Names of metrics in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    names = re.findall(r"\b(?:wss_node|sealwire|tls_server|http_server|process)_\w+", re.sub(r"\{[^}]*\}", "", bare))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def documented():
    page = (ROOT / "docs/metrics.md").read_text()
    return set(re.findall(r"^\| `[^`]+` \| `(\w+)` \|", page, re.M))


def promtool(groups, what):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": groups}, file)
        file.flush()
        code, out, err = run("promtool", "check", "rules", file.name)
        check(code == 0, f"{what}: promtool", out + err)


def monitoring(objects, what):
    """Rules and panels are PromQL over metrics that exist."""
    known = documented()
    for it in objects:
        expressions = []
        if it["kind"] == "PrometheusRule":
            promtool(it["spec"]["groups"], what)
            rules = [rule for group in it["spec"]["groups"] for rule in group["rules"]]
            expressions = [rule["expr"] for rule in rules]
            for rule in rules:
                check("summary" in rule["annotations"], f"{what}: {rule['alert']} says nothing")
                check('namespace="prod"' in rule["expr"], f"{what}: {rule['alert']} looks at other namespaces")
        elif "sealwire.json" in (it.get("data") or {}):
            board = json.loads(it["data"]["sealwire.json"])
            expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
            plain = [re.sub(r"\$__rate_interval", "5m", expression) for expression in expressions]
            promtool([{"name": "panels", "rules": [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(plain)]}], what)
        for expression in expressions:
            names = metrics_of(expression)
            check(names and names <= known, f"{what}: no such metric", f"{expression}: {names - known}")


def ports(objects, what):
    """Every port that something leads to is one of the pods: by name only those of containers proper, since Services before
    Kubernetes 1.32 and some networks know no names of a native sidecar's ports (kubernetes/kubernetes#127958, #125285)."""
    names, numbers, all_names = set(), set(), set()
    for _, spec, _ in facts.pods(objects):
        for container in spec.get("initContainers", []) + spec["containers"]:
            for port in container.get("ports", []):
                numbers.add(port["containerPort"])
                all_names.add(port.get("name", ""))
                if container in spec["containers"]:
                    names.add(port.get("name"))
    led, read = set(), set()
    for it in objects:
        spec = it.get("spec", {})
        if it["kind"] == "Service":
            led |= {port["targetPort"] for port in spec["ports"]}
            read |= {port["name"] for port in spec["ports"]}
        elif it["kind"] == "NetworkPolicy":
            led |= {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
    check(led <= names | numbers, f"{what}: ports that no container has", str(led - names - numbers))
    for it in objects:
        spec = it.get("spec", {})
        if it["kind"] in ("PodMonitor", "ServiceMonitor"):
            ends = {end["port"] for end in spec.get("podMetricsEndpoints", spec.get("endpoints", []))}
            known = all_names if it["kind"] == "PodMonitor" else read
            check(ends <= known, f"{what}: {it['kind']} reads ports that are not there", str(ends - known))
    check(all(len(name) <= 15 for name in all_names), f"{what}: a port's name is over 15 characters", str(all_names))


def drain(objects, what):
    """preStop, drain.* and the grace period fit together, whether or not the API server knows `sleep`."""
    for it in objects:
        if it["kind"] != "StatefulSet":
            continue
        spec = it["spec"]["template"]["spec"]
        node = next(container for container in spec["containers"] if container["name"] == "node")
        text = next(o["data"]["wss-node.toml"] for o in objects if "wss-node.toml" in (o.get("data") or {}))
        told = {key: int(re.search(rf'^{key} = "(\d+)s"', text.split("[drain]")[1], re.M)[1]) for key in ("delay", "window", "timeout")}
        sleeps = node.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        check(bool(sleeps) != bool(told["delay"]), f"{what}: load balancers get no time, or twice", f"{sleeps} {told}")
        need = sleeps + sum(told.values()) + 1
        grace = spec["terminationGracePeriodSeconds"]
        check(need <= grace, f"{what}: sessions are cut", f"needs {need} s, has {grace} s")


def rights(objects, what):
    """Each object that replicas share is made empty and kept, named in the Role, and nothing may be made or listed."""
    shared = {(it["kind"], it["metadata"]["name"]): it for it in objects if it["kind"] in ("Lease", "Secret")}
    rules = [rule for it in objects if it["kind"] in ("Role", "ClusterRole") for rule in it["rules"]]
    for it in shared.values():
        kept = it["metadata"]["annotations"].get("helm.sh/resource-policy") == "keep"
        check(kept and not {"data", "stringData", "spec"} & set(it), f"{what}: {it['metadata']['name']} is not left alone", str(it))
    kinds = {"secrets": "Secret", "leases": "Lease"}
    named = {(kinds[kind], name) for rule in rules for kind in rule["resources"] for name in rule["resourceNames"]}
    check(named == set(shared), f"{what}: the Role is for other objects", f"{named ^ set(shared)}")
    verbs = {verb for rule in rules for verb in rule["verbs"]}
    check(verbs <= {"get", "watch", "update"}, f"{what}: verbs", str(verbs))
    bound = {subject["name"] for it in objects if it["kind"] == "RoleBinding" for subject in it["subjects"]}
    used = {spec["serviceAccountName"] for _, spec, _ in facts.pods(objects) if rules and "serviceAccountName" in spec}
    check(bound <= used, f"{what}: bound to another account", f"{bound} {used}")


def judge(text, version, what):
    objects = [it for it in yaml.safe_load_all(text) if it]
    kubeconform(text, version, what)
    complaints = facts.judge(objects)
    check(not complaints, f"{what}: facts", "\n".join(complaints))
    configurations(objects, what)
    ports(objects, what)
    rights(objects, what)
    drain(objects, what)
    monitoring(objects, what)
    ids = [(it["kind"], it["metadata"]["name"]) for it in objects]
    check(len(ids) == len(set(ids)), f"{what}: an object stands twice", str(ids))
    return objects


def value_sets():
    kinds = set()
    for values in sorted((HERE / "values").glob("*.yaml")):
        code, out, err = helm("lint", CHART, "--strict", "--quiet", "--values", values)
        check(code == 0, f"{values.name}: helm lint", out + err)
        for version in VERSIONS:
            what = f"{values.name} on {version}"
            code, out, err = template(CHART, "--values", values, version=version)
            check(code == 0, f"{what}: helm template", err)
            if code == 0:
                kinds |= {it["kind"] for it in judge(out, version, what)}
        code, out, err = run(TOOLS / "bin/helm", "install", "edge", CHART, "--namespace", "prod", "--dry-run=client", "--values", values)
        notes = out.partition("NOTES:")[2]
        check(code == 0 and "node(s) for" in notes and "<no value>" not in notes, f"{values.name}: notes", err + notes)
        print(f"{values.name}: looked at", flush=True)
    wanted = {"StatefulSet", "Service", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
              "PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap", "ServiceAccount", "Pod", "Lease", "Secret",
              "Role", "RoleBinding"}
    check(wanted <= kinds, "kinds that no set of values renders", str(wanted - kinds))


def refusals():
    base = HERE / "values/internal.yaml"
    for case in yaml.safe_load((HERE / "failures.yaml").read_text()):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(case["values"], file)
            file.flush()
            code, out, err = template(CHART, "--values", base, "--values", file.name)
        what = f"refusal of {case['values']}"
        check(code != 0, f"{what}: it renders")
        check(all(words in err for words in case["says"]), f"{what}: says", err)
    code, _, err = template(CHART, "--values", base, version="1.28.0")
    check(code != 0 and ">=1.29" in err, "refusal of Kubernetes 1.28", err)


def the_judge_judges():
    """Each broken fact is found, by the complaint that is meant for it."""
    _, out, _ = template(CHART, "--values", HERE / "values/internal.yaml")
    sound = [it for it in yaml.safe_load_all(out) if it and it["kind"] == "StatefulSet"]
    check(len(sound) == 1 and not facts.judge(sound), "the sound pod is not sound")
    for words, harm in facts.BREAKS.items():
        broken = copy.deepcopy(sound)
        harm(broken[0]["spec"]["template"]["spec"])
        check(any(words in it for it in facts.judge(broken)), f"nobody notices: {words}", str(facts.judge(broken)))


def library():
    code, out, err = helm("lint", LIBRARY, "--strict", "--quiet")
    check(code == 0, "library: helm lint", out + err)
    values = ("--set", "sealwire.image.repository=images.example/sealwire", "--set", "server.serverNames={app.svc.example}",
              "--set-json", 'sealwire.config={"internal":{"pki":{}},"certificate":[{"name":"web","identifiers":["app.svc.example"]}]}')
    code, out, err = template(EXAMPLE, *values)
    check(code == 0, "example of the library", err)
    if code == 0:
        judge(out, VERSIONS[-1], "example of the library")
    code, _, err = template(EXAMPLE)
    check(code != 0 and "sealwire.image.repository is not set" in err, "example of the library: its values are named", err)


def kustomize():
    code, out, err = run(TOOLS / "bin/kustomize", "build", KUSTOMIZE)
    check(code == 0, "kustomize build", err)
    if code:
        return
    component = judge(out, VERSIONS[-1], "kustomize")
    _, helms, _ = template(CHART, "--values", HERE / "values/internal.yaml")
    # The same agent by either way: whoever changes one changes the other.
    by_chart, by_component = (agent(it) for it in ([o for o in yaml.safe_load_all(helms) if o], component))
    for key in ("command", "args", "restartPolicy", "startupProbe", "livenessProbe", "resources", "securityContext"):
        check(by_chart[key] == by_component[key], f"chart and component differ in {key}", f"{by_chart[key]} {by_component[key]}")


def agent(objects):
    return next(it for _, spec, _ in facts.pods(objects) for it in spec.get("initContainers", []) if it["name"] == "sealwire")


def document():
    """The values in docs/deploy-kubernetes.md render: those with an image alone, others on top of the first."""
    page = (ROOT / "docs/deploy-kubernetes.md").read_text()
    first = re.search(r"^cat > values.yaml <<'END'\n(.*?)^END", page, re.M | re.S)[1]
    others = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    check(len(others) >= 2, "docs/deploy-kubernetes.md has lost its values")
    for text in (first, *others):
        with tempfile.TemporaryDirectory() as directory:
            base, more = Path(directory) / "values.yaml", Path(directory) / "more.yaml"
            base.write_text(first if "image:" not in text else text)
            more.write_text(text)
            code, out, err = template(CHART, "--values", base, "--values", more)
        what = f"docs/deploy-kubernetes.md: {text}"
        check(code == 0, what, err)
        if code == 0:
            judge(out, VERSIONS[-1], what)


def sections():
    """The schemas know exactly the sections that the programs know."""
    for program, schema, at in (("sealwire", LIBRARY, ()), ("wss-node", CHART, ("node", "properties"))):
        example = run(BIN / program, "config", "example")[1]
        plain = re.sub(r"^# (?=\[|[a-z_]+ = )", "", example, flags=re.M)
        heads = {name.split(".")[0] for name in re.findall(r"^\[+([a-z0-9_.]+)\]+", plain, re.M)}
        table = json.loads((schema / "values.schema.json").read_text())["properties"]
        for key in at:
            table = table[key]
        known = set(table["config"]["properties"])
        alone = {"state_dir", "node_id", "server_names"}
        check(heads <= known and known - heads <= alone, f"{program}: sections", f"{heads ^ (known - alone)}")


for part in (sections, the_judge_judges, value_sets, refusals, library, kustomize, document):
    part()
    print(f"charts: {part.__name__}: done", flush=True)
if failures:
    sys.exit(f"charts: {failures} FAILED")
print("charts: good")
