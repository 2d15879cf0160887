"""Checks the Helm chart without a cluster: lints it, renders it with several sets of values, validates all objects
strictly, and compares them with what sp1d needs. ./x check runs it.

Usage: chart.py FOLDER [--print NAME]
"""

import pathlib
import re
import sys
import warnings

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError

# The oldest version that the chart supports, and the newest one whose schemas exist.
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
# Types that are not part of Kubernetes.
OTHER_TYPES = {"ServiceMonitor": ServiceMonitor, "ScaledObject": ScaledObject}

# The values file for workers on GPUs, which users copy.
GPU_VALUES = pathlib.Path("packaging/helm/values-gpu.yaml")

IMAGE = {"image": {"repository": "registry.example/sp1d"}}
POOLS = {
    "default": {"replicas": 3},
    "large": {"provers": 2, "threads": 8, "graceSeconds": 600, "maxUnavailable": "25%", "resources": {"limits": {"memory": "64Gi"}}},
}
# Sets of values that render.
GOOD = {
    "default": {},
    "everything": {
        "workers": {**POOLS, "elastic": {"autoscaling": {"enabled": True}}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "tokenSecret": "metrics-token"},
        "networkPolicy": {
            "clients": [{"namespaceSelector": {"matchLabels": {"team": "proofs"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "extraEgress": [{"ports": [{"port": 4317, "protocol": "TCP"}]}],
        },
        "service": {
            "storage": {"className": "fast"}, "type": "LoadBalancer", "annotations": {"a": "b"}, "podLabels": {"c": "d"},
            "podAnnotations": {"e": "f"}, "env": [{"name": "SP1_DISTRIBUTED_VERIFY", "value": "final"}],
            "extraArgs": ["--keep", "30"], "tolerations": [{"key": "proofs", "operator": "Exists"}],
            "priorityClassName": "high",
        },
        "tls": {"insecure": True},
    },
    "an existing volume": {"service": {"storage": {"existingClaim": "old"}}},
    "no network policy": {"networkPolicy": {"enabled": False}, "tls": {"insecure": True}},
    "an archive and hosted programs": {
        "archive": {"place": "s3://proofs/sp1d", "existingSecret": "s3-keys", "region": "eu-central-1",
                    "endpoint": "https://minio.example.org:9000"},
        "hosted": {"enabled": True, "signersSecret": "signers", "url": "https://prover.example.org"},
        "networkPolicy": {
            "hostedClients": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
            "archiveEgress": [{"ports": [{"port": 9000, "protocol": "TCP"}]}],
        },
        "service": {
            "env": [{"name": "AWS_CA_BUNDLE", "value": "/etc/sp1d/ca/ca.crt"}],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "our-ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/sp1d/ca"}],
        },
    },
    "an archive with credentials of the cluster": {"archive": {"place": "s3://proofs/sp1d"}},
    "workers on GPUs": yaml.safe_load(GPU_VALUES.read_text()),
    "workers on many GPUs": {
        "image": {"gpuTag": "own-gpu"},
        "workers": {"default": {"replicas": 0}, "large": {"gpus": 8, "runtimeClassName": "nvidia", "resources": {"limits": {"memory": "256Gi"}}}},
    },
    "certificates": {
        "tls": {"serviceSecret": "service-tls", "workerSecret": "worker-tls"}, "serviceMonitor": {"enabled": True},
        "networkPolicy": {"enabled": False}, "service": {"type": "NodePort"},
    },
    "a certificate for each pod": {"tls": {
        "serviceSecret": "service-tls",
        "workerVolume": {"csi": {
            "driver": "csi.cert-manager.io", "readOnly": True,
            "volumeAttributes": {"csi.cert-manager.io/issuer-name": "sp1d", "csi.cert-manager.io/uri-sans": "sp1d:worker:${POD_NAME}"},
        }},
    }},
}
# Sets of values that are refused, with a part of the message.
BAD = {
    "no image": ({"image": {"repository": ""}}, "image.repository is empty"),
    "a misspelled value": ({"service": {"parallelProof": 2}}, "parallelProof"),
    "a misspelled value of a pool": ({"workers": {"large": {"prover": 2}}}, "prover"),
    "a level that does not exist": ({"image": {"level": "x86-64-v2"}}, "level"),
    "too many provers": ({"workers": {"default": {"provers": 65}}}, "provers"),
    "too many GPUs": ({"workers": {"default": {"gpus": 65}}}, "gpus"),
    "hosted programs without a list of signers": ({"hosted": {"enabled": True}}, "hosted.signersSecret is empty"),
    "an archive that is not an object store": ({"archive": {"place": "/var/archive"}}, "place"),
    "a token among the values": ({"serviceMonitor": {"enabled": True, "token": "sp1d_0"}}, "token"),
    "credentials among the values": ({"archive": {"place": "s3://a/b", "secretKey": "c"}}, "secretKey"),
    "certificates of only one side": ({"tls": {"serviceSecret": "service-tls"}}, "set both tls.serviceSecret"),
    "certificates of only the pods of workers": ({"tls": {"workerVolume": {"csi": {"driver": "a"}}}}, "set both tls.serviceSecret"),
    "no network policy and no certificates": ({"networkPolicy": {"enabled": False}}, "tls.insecure=true"),
    "a load balancer without certificates": ({"service": {"type": "LoadBalancer"}}, "tls.insecure=true"),
    "a port of the nodes without certificates": ({"service": {"type": "NodePort"}}, "tls.insecure=true"),
    "a pool name that is too long": ({"workers": {"a" * 17: {}}}, "a" * 17),
}

problems = []


def expect(condition, text):
    if not condition:
        problems.append(text)


def merged(*values):
    result = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def objects(chart, values):
    """Renders the chart and returns its objects by kind and name."""
    found = {}
    rendered = chart.render(values=merged(IMAGE, values), name="demo", namespace="proofs")
    for path, text in rendered.items():
        if path.endswith(".txt"):
            continue
        for item in yaml.safe_load_all(text):
            if item:
                key = item["kind"], item["metadata"]["name"]
                expect(key not in found, f"{path}: two objects are named {key}")
                found[key] = item
    return found


def validate(item, where):
    """Validates an object against its schema, and refuses fields that do not exist."""
    other = OTHER_TYPES.get(item["kind"])
    if other:
        # The types of the packages ignore unknown fields: those are missing in what comes back.
        back = other.model_validate(item).model_dump(mode="json", by_alias=True, exclude_unset=True)
        expect(back == item, f"{where}: a field does not exist: {differences(item, back)}")
        return
    for version in OLDEST, NEWEST:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{where}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")


def differences(before, after):
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: differences(value, after.get(key)) for key, value in before.items() if after.get(key) != value}
    return before


def pod_of(item):
    return item["spec"]["template"]["spec"]


def gigabytes(quantity):
    number, unit = re.fullmatch(r"([0-9.]+)(Gi|Mi)", quantity).groups()
    return float(number) * {"Gi": 2**30, "Mi": 2**20}[unit] / 1e9


def is_selected(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def check_pods(found, where, known_flags, values):
    """What all pods need: no rights, a bounded memory, and a grace period that is longer than that of the worker."""
    for key, item in found.items():
        if item["kind"] not in ("StatefulSet", "Deployment"):
            continue
        pod, name = pod_of(item), f"{where}: {key}"
        labels = item["spec"]["template"]["metadata"]["labels"]
        expect(is_selected(item["spec"]["selector"]["matchLabels"], labels), f"{name}: the selector does not select its pods")
        [container] = pod["containers"]
        rights = container["securityContext"]
        expect(pod["securityContext"]["runAsNonRoot"] and rights["readOnlyRootFilesystem"], f"{name}: not restricted")
        expect(rights["capabilities"] == {"drop": ["ALL"]} and not rights["allowPrivilegeEscalation"], f"{name}: has rights")
        expect("memory" in container["resources"].get("limits", {}), f"{name}: without a limit of memory")
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
        expect(mounts == volumes, f"{name}: mounts {mounts}, and has {volumes}")
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                expect(container[probe]["httpGet"]["port"] in ports, f"{name}: {probe} asks an unknown port")
        # A port for other machines needs certificates or consent, and the probes speak what the ports speak.
        has_tls = "--tls=/etc/sp1d/tls" in container["args"]
        expect(has_tls != ("--insecure" in container["args"]), f"{name}: neither certificates nor consent, or both")
        schemes = {container[probe]["httpGet"]["scheme"] for probe in container if probe.endswith("Probe")}
        expect(schemes == {"HTTPS" if has_tls else "HTTP"}, f"{name}: probes speak {schemes}")
        given = {argument.split("=")[0] for argument in container["args"] if argument.startswith("--")}
        expect(given <= known_flags, f"{name}: sp1d has no flags {given - known_flags}")
        arguments = dict(pair.split("=", 1) for pair in container["args"] if pair.startswith("--") and "=" in pair)
        if container["args"][0] == "worker":
            grace = pod["terminationGracePeriodSeconds"]
            expect(grace == int(arguments["--grace"]) + 30, f"{name}: the pod gets {grace} s, the worker {arguments['--grace']}")
            expect(container["readinessProbe"]["httpGet"]["path"] == "/readyz", f"{name}: ready too early")
            address = arguments["--join"]
            expect(address == "demo-sp1d-join.proofs.svc.cluster.local:8091", f"{name}: joins {address}")
        else:
            # Secrets come from objects that exist already, as variables and as files.
            secrets = [item["secretRef"]["name"] for item in container.get("envFrom", [])]
            secrets += [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
            wanted = [values.get("archive", {}).get("existingSecret"), values.get("tls", {}).get("serviceSecret"),
                      values.get("hosted", {}).get("signersSecret")]
            expect(secrets == [secret for secret in wanted if secret], f"{name}: uses the secrets {secrets}, not {wanted}")
            if "--hosted-signers" in arguments:
                folder = str(pathlib.PurePosixPath(arguments["--hosted-signers"]).parent)
                folders = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "hosted-signers"]
                expect(folders == [folder], f"{name}: reads {folder}, and the signers are in {folders}")
            # Workers reach the service only when it is ready, so its readiness must not need a worker.
            expect(container["readinessProbe"]["httpGet"]["path"] == "/healthz", f"{name}: its readiness needs a worker")
            [shared] = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shared-memory"]
            proofs = int(arguments["--parallel-proofs"])
            expect(shared["medium"] == "Memory", f"{name}: /dev/shm is not in memory")
            expect(gigabytes(shared["sizeLimit"]) >= 1.6 * proofs, f"{name}: /dev/shm is too small for {proofs} proofs")
            memory = gigabytes(container["resources"]["limits"]["memory"])
            expect(memory >= 4 * proofs, f"{name}: {memory} GB of memory are too little for {proofs} proofs")


def check_gpus(found, where, values):
    """Only pools with GPUs get them, with an image that has GPU support and memory to pin."""
    for pool, given in merged({"default": {}}, values.get("workers", {})).items():
        [container] = pod_of(found[("Deployment", f"demo-sp1d-worker-{pool}")])["containers"]
        gpus, name = given.get("gpus", 0), f"{where}: {pool}"
        limits = container["resources"]["limits"]
        expect(limits.get("nvidia.com/gpu") == (str(gpus) if gpus else None), f"{name}: has the limits {limits}")
        expect(container["image"].endswith("-gpu") == bool(gpus), f"{name}: has the image {container['image']}")
        expect(("--gpus=all" in container["args"]) == bool(gpus), f"{name}: its flags do not fit {gpus} GPUs")
        divided = any(argument.startswith(("--provers", "--threads")) for argument in container["args"])
        expect(divided != bool(gpus), f"{name}: a worker has either provers on the processor or GPUs")
        # 10.5 GB are pinned, and a shard takes 6 GB (crates/sp1d-engine/src/device.rs).
        memory = gigabytes(limits["memory"])
        expect(memory >= 17.5 * gpus, f"{name}: {memory} GB of memory are too little for {gpus} GPUs")


def check_connections(found, where, values):
    """Services, network policies and budgets select the pods that they are for, and admit what these need."""
    [container] = pod_of(found[("StatefulSet", "demo-sp1d")])["containers"]
    service_ports = {port["name"] for port in container["ports"]}
    pods = [item["spec"]["template"]["metadata"]["labels"] for item in found.values() if "template" in item.get("spec", {})]
    for key, item in found.items():
        if item["kind"] == "Service":
            selected = [labels for labels in pods if is_selected(item["spec"]["selector"], labels)]
            expect([labels["app.kubernetes.io/component"] for labels in selected] == ["service"], f"{where}: {key} selects {selected}")
            ports = {port["targetPort"] for port in item["spec"]["ports"]}
            expect(ports <= service_ports, f"{where}: {key} has the ports {ports}, its pod has {service_ports}")
        if key == ("NetworkPolicy", "demo-sp1d"):
            admitted = {port["port"] for rule in item["spec"]["ingress"] for port in rule["ports"]}
            expect(admitted == service_ports, f"{where}: {key} admits {admitted}, the service has {service_ports}")
            outgoing = {port["port"] for rule in item["spec"]["egress"] for port in rule.get("ports", [])}
            needed = "archive" not in values or outgoing > {53}
            expect(needed, f"{where}: {key} does not let the service reach its archive")
        if item["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            selector = item["spec"].get("podSelector", item["spec"].get("selector"))["matchLabels"]
            expect(any(is_selected(selector, labels) for labels in pods), f"{where}: {key} selects no pod")
        if item["kind"] == "ServiceMonitor":
            services = [other for other in found.values() if other["kind"] == "Service"]
            chosen = [other for other in services if is_selected(item["spec"]["selector"]["matchLabels"], other["metadata"]["labels"])]
            expect(len(chosen) == 1, f"{where}: {key} selects {len(chosen)} services")
            # Without a value, Prometheus sends no token: it could not load a monitor with an empty name.
            [endpoint] = item["spec"]["endpoints"]
            secret = values["serviceMonitor"].get("tokenSecret")
            wanted = {"type": "Bearer", "credentials": {"name": secret, "key": "token"}} if secret else None
            expect(endpoint.get("authorization") == wanted, f"{where}: {key} has the authorization {endpoint.get('authorization')}")
        if item["kind"] == "ScaledObject":
            target = found[("Deployment", item["spec"]["scaleTargetRef"]["name"])]
            expect("replicas" not in target["spec"], f"{where}: {key} and its Deployment both set the number of workers")
            query = item["spec"]["triggers"][0]["metadata"]["query"]
            names = set(re.findall(r"sp1d_\w+", query))
            known = set(re.findall(r"`(sp1d_\w+)`", pathlib.Path("docs/guide/service.md").read_text()))
            expect(names <= known, f"{where}: {key} asks for unknown metrics: {names - known}")


def flags():
    """The flags of sp1d, from the names of the fields that clap reads."""
    sources = pathlib.Path("crates/sp1d/src/args").rglob("*.rs")
    fields = {name for source in sources for name in re.findall(r"pub\(crate\) (\w+):", source.read_text())}
    return {"--" + name.replace("_", "-") for name in fields}


def check_versions(chart):
    version = re.search(r'^version = "(.*)"', pathlib.Path("Cargo.toml").read_text(), re.MULTILINE)[1]
    metadata = chart.metadata
    for name in "version", "appVersion":
        expect(metadata[name] == version, f"Chart.yaml: {name} is {metadata[name]}, the workspace has {version}")
    expect(metadata["kubeVersion"] == f">={OLDEST}.0-0", f"Chart.yaml: kubeVersion is not {OLDEST}, which is checked")


def main():
    # Each validation warns that a schema has no dialect.
    warnings.simplefilter("ignore")
    folder = sys.argv[1]
    report = lint(folder, values=IMAGE, strict=True)
    # Severity 1 is information, for example that the chart has no icon.
    problems.extend(f"lint: {message['path']}: {message['error']}" for message in report["messages"] if message["severity"] > 1)
    with Chart.load(folder) as chart:
        check_versions(chart)
        if len(sys.argv) == 4 and sys.argv[2] == "--print":
            print(yaml.safe_dump_all(objects(chart, GOOD[sys.argv[3]]).values(), sort_keys=False))
        count, known_flags = 0, flags()
        for name, values in GOOD.items():
            found = objects(chart, values)
            count += len(found)
            for key, item in found.items():
                validate(item, f"{name}: {key}")
            check_pods(found, name, known_flags, values)
            check_gpus(found, name, values)
            check_connections(found, name, values)
        for name, (values, part) in BAD.items():
            try:
                chart.validate_schema(merged(IMAGE, values))
                objects(chart, values)
                problems.append(f"{name} is accepted")
            except HelmError as error:
                expect(part in str(error), f"{name}: the message does not contain {part!r}: {error}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{count} objects are valid for Kubernetes {OLDEST} and {NEWEST}", file=sys.stderr)


if __name__ == "__main__":
    main()
