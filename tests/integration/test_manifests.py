"""What config/ says to Kubernetes: valid for three versions, and right where no schema looks."""

import copy
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from controlplane.settings import Settings as ControlSettings
from sidecar.rule_loading import DocumentFormat, read_rule_set
from sidecar.settings import SETTINGS, Settings
from tests.support.manifests import (
    CHART,
    KUBERNETES,
    Container,
    Document,
    Refused,
    faults,
    helm,
    injected_sidecar,
    kustomize,
    our_containers,
    pods,
    read,
)

VERSIONS: Final = ("1.29.0", "1.33.0", "1.37.0")
POLICY_VERSIONS: Final = ("1.36.0", "1.37.0")
PATHS: Final = {"/livez", "/readyz", "/metrics"}
TOKEN: Final = "a-token-of-sixteen-letters"
ADMIN_PORTS: Final = {"sidecar": 9797, "controlplane": 9798}
EVERYTHING: Final = {
    "monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
    "controlplane": {
        "publicUrl": "https://spendgate.example.com",
        "seed": "rules: []\n",
        "env": {"SPENDGATE_SESSION_HOURS": 8},
    },
}
EXAMPLES: Final = {path.stem: path for path in sorted((KUBERNETES / "examples").glob("*.yaml"))}
POLICY: Final = KUBERNETES / "injection" / "mutating-admission-policy.yaml"
APP_CHART: Final = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app, spendgate.dev/sidecar: enabled}}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app, spendgate.dev/sidecar: enabled}}
    spec:
      automountServiceAccountToken: false
      initContainers:
        {{- include "spendgate.sidecar" .Subcharts.spendgate | nindent 8 }}
      containers:
        - {name: app, image: "your-app:1.0.0"}
      volumes:
        {{- include "spendgate.sidecar.volumes" .Subcharts.spendgate | nindent 8 }}
"""


def _app_chart(directory: Path) -> Path:
    """Write a chart that has ours as a dependency and includes its templates, as their head tells."""
    chart = directory / "app"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: spendgate, version: 0.1.0}]\n"
    )
    (chart / "templates" / "app.yaml").write_text(APP_CHART)
    shutil.copytree(CHART, chart / "charts" / "spendgate")
    return chart


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """Return every set of manifests by a name, as its users would apply it."""
    app_chart = _app_chart(tmp_path_factory.mktemp("charts"))
    sidecar = {"spendgate": {"controlplane": {"enabled": False}}}
    everything = {"controlplane": {"enabled": False}, "sidecar": {"rulesConfigMap": "rules", "unixSocket": True}}
    classic = tmp_path_factory.mktemp("kustomize")
    shutil.copytree(KUBERNETES, classic / "kubernetes")
    example = classic / "kubernetes" / "examples" / "kustomize" / "kustomization.yaml"
    example.write_text(yaml.safe_dump({**yaml.safe_load(example.read_text()), "components": ["../../sidecar-classic"]}))
    return {
        **{name: read(path) for name, path in EXAMPLES.items()},
        "component": kustomize(KUBERNETES / "examples" / "kustomize"),
        "classic component": kustomize(example.parent),
        "control plane": kustomize(KUBERNETES / "controlplane"),
        "chart": helm(CHART, {}),
        "whole chart": helm(CHART, EVERYTHING),
        "app chart": helm(app_chart, sidecar),
        "whole app chart": helm(app_chart, {"spendgate": everything}),
    }


NAMES: Final = (
    *EXAMPLES,
    *("component", "classic component", "control plane", "chart", "whole chart", "app chart", "whole app chart"),
)


def _core(documents: list[Document]) -> list[Document]:
    return [document for document in documents if "monitoring.coreos.com" not in document["apiVersion"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version: str, sets: dict[str, list[Document]], tmp_path: Path) -> None:
    """Against the schemas of the oldest version that starts native sidecars, the one they are stable in, the newest."""
    documents = [document for name in NAMES for document in _core(sets[name])]
    assert "" == faults(documents, version, tmp_path)


@pytest.mark.parametrize("version", POLICY_VERSIONS)
def test_the_admission_policy_is_valid(version: str, tmp_path: Path) -> None:
    """Where such policies are stable."""
    assert "" == faults(read(POLICY), version, tmp_path)


def test_validation_finds_a_misspelt_field(sets: dict[str, list[Document]], tmp_path: Path) -> None:
    """The check before is no formality."""
    documents = copy.deepcopy(sets["control plane"])
    next(pods(documents))["spec"]["enableServiceLink"] = False
    assert "enableServiceLink" in faults(documents, VERSIONS[-1], tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_probes_ask_what_is_there(name: str, sets: dict[str, list[Document]]) -> None:
    """Paths of the admin listener, at a port of the container that is the listener's default."""
    for container in our_containers(sets[name]):
        (kind,) = container.spec["args"]
        probes = [container.spec[f"{probe}Probe"]["httpGet"] for probe in ("readiness", "liveness")]
        probes += [container.spec["startupProbe"]["httpGet"]] if container.is_init else []
        assert {ADMIN_PORTS[kind]} == {container.ports[probe["port"]] for probe in probes}
        assert {"/livez", "/readyz"} == {probe["path"] for probe in probes}
        assert "/livez" == container.spec["livenessProbe"]["httpGet"]["path"]
        assert len(max(container.ports)) <= 15


@pytest.mark.parametrize("name", NAMES)
def test_nobody_may_write_but_to_its_own_directories(name: str, sets: dict[str, list[Document]]) -> None:
    """A read-only root, and every mount that is not read-only is an emptyDir with a limit."""
    for pod in pods(sets[name]):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert False is pod["spec"]["automountServiceAccountToken"]
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            for mount in container.get("volumeMounts", ()):
                assert "subPath" not in mount, "Kubernetes would never update it"
                assert mount.get("readOnly") or "sizeLimit" in volumes[mount["name"]]["emptyDir"]
    for ours in our_containers(sets[name]):
        security = ours.spec["securityContext"]
        assert (True, True, False) == (
            security["readOnlyRootFilesystem"],
            security["runAsNonRoot"],
            security["allowPrivilegeEscalation"],
        )
        assert ({"drop": ["ALL"]}, {"type": "RuntimeDefault"}) == (security["capabilities"], security["seccompProfile"])
        assert "/var/lib/spendgate" in {mount["mountPath"] for mount in ours.spec["volumeMounts"]}


def test_the_control_plane_keeps_adjustments_where_it_may_write(sets: dict[str, list[Document]]) -> None:
    """And where a container finds them again that is started anew in its pod."""
    containers = [each for listed in sets.values() for each in our_containers(listed)]
    planes = [each for each in containers if each.spec["args"] == ["controlplane"]]
    assert planes
    for plane in planes:
        writable = {mount["mountPath"] for mount in plane.spec["volumeMounts"] if not mount.get("readOnly")}
        assert plane.environment["SPENDGATE_CONTROL_DATA_DIR"] in writable


@pytest.mark.parametrize("name", NAMES)
def test_every_container_starts_with_what_it_is_given(
    name: str, sets: dict[str, list[Document]], tmp_path: Path
) -> None:
    """Each variable is a setting, each file it names is mounted, and together they are accepted; no CPU is limited."""
    for container in our_containers(sets[name]):
        known = {setting.env for setting in (*SETTINGS, *CONTROL_SETTINGS)}
        assert set() == set(container.environment) - known
        environment = {
            variable: _as_mounted(container, value, tmp_path) for variable, value in container.environment.items()
        }
        reader: Any = Settings if container.spec["args"] == ["sidecar"] else ControlSettings
        reader.read(environment, {})
        assert {"memory"} == set(container.spec["resources"]["limits"])


def _as_mounted(container: Container, value: str, directory: Path) -> str:
    """Return a value with a path under /etc replaced by a file like the one that is mounted there."""
    if not value.startswith("/etc/"):
        return value
    mounted = {mount["mountPath"] for mount in container.spec["volumeMounts"]}
    assert str(Path(value).parent) in mounted
    file = directory / Path(value).name
    file.write_text("redis://valkey:6379/0" if value.endswith("redis-url") else f"{TOKEN}-{file.name}")
    return str(file)


@pytest.mark.parametrize("name", [name for name in NAMES if "control" not in name and "chart" not in name])
def test_a_sidecar_lives_longer_than_its_app(name: str, sets: dict[str, list[Document]]) -> None:
    """Native: started before and ended after the containers. Classic: it waits, for less than the grace period."""
    (container,) = our_containers(sets[name])
    if container.is_init:
        assert "Always" == container.spec["restartPolicy"]
        assert container.spec is container.pod["spec"]["initContainers"][0]
    else:
        waits_s = int(container.spec["lifecycle"]["preStop"]["exec"]["command"][1])
        assert 10 <= waits_s <= container.pod["spec"]["terminationGracePeriodSeconds"] - 5


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_finds_its_pods(name: str, sets: dict[str, list[Document]]) -> None:
    """Deployments, Services, disruption budgets and network policies name labels that the pods have."""
    labels = [pod["metadata"]["labels"] for pod in pods(sets[name])]
    for document in sets[name]:
        selector = document.get("spec", {}).get("selector") or document.get("spec", {}).get("podSelector") or {}
        wanted = selector.get("matchLabels", selector)
        wanted = {} if document["kind"] in {"PodMonitor", "ServiceMonitor"} else wanted
        is_store = "valkey" in wanted.values()
        assert is_store or any(wanted.items() <= each.items() for each in labels), document["metadata"]["name"]


def test_monitors_scrape_the_admin_ports(sets: dict[str, list[Document]]) -> None:
    """By the port's name; the pods and the Service have the labels that are asked for."""
    (sidecar,) = our_containers(sets["component"])
    (pod_monitor,) = read(KUBERNETES / "monitoring" / "podmonitor.yaml")
    (endpoint,) = pod_monitor["spec"]["podMetricsEndpoints"]
    assert 9797 == sidecar.ports[endpoint["port"]]
    assert pod_monitor["spec"]["selector"]["matchLabels"].items() <= sidecar.pod["metadata"]["labels"].items()
    (service_monitor,) = read(KUBERNETES / "monitoring" / "servicemonitor.yaml")
    (service,) = [document for document in sets["control plane"] if document["kind"] == "Service"]
    (port,) = [
        port for port in service["spec"]["ports"] if port["name"] == service_monitor["spec"]["endpoints"][0]["port"]
    ]
    assert service_monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert 9798 == our_containers(sets["control plane"])[0].ports[port["targetPort"]]


def test_the_injected_sidecar_is_the_one_of_the_component(sets: dict[str, list[Document]]) -> None:
    """Three texts, one container: what the component, the chart and the admission policy add is the same."""
    policy, _ = read(POLICY)
    (component,) = our_containers(sets["native-sidecar"])
    (chart,) = our_containers(sets["app chart"])
    injected = injected_sidecar(policy)
    for port in injected["ports"]:
        assert "TCP" == port.pop("protocol")
    chart.spec.pop("imagePullPolicy")
    chart.spec["env"] = [entry for entry in chart.spec["env"] if entry["name"] != "SPENDGATE_WORKSPACE"]
    assert component.spec == injected
    assert component.spec == chart.spec


def test_the_control_plane_is_the_same_with_and_without_helm(sets: dict[str, list[Document]]) -> None:
    """Probes, ports, mounts and rights; labels and settings are the chart's own."""
    plain, chart = our_containers(sets["control plane"])[0].spec, our_containers(sets["chart"])[0].spec
    same = ("args", "ports", "startupProbe", "readinessProbe", "livenessProbe", "resources", "securityContext")
    assert [plain[field] for field in (*same, "volumeMounts")] == [chart[field] for field in (*same, "volumeMounts")]


@pytest.mark.parametrize(
    "values",
    [
        {"controlplan": {}},
        {"controlplane": {"replicas": 0}},
        {"controlplane": {"env": {"LOG_LEVEL": "debug"}}},
        {"controlplane": {"networkPolicy": {"pageFrom": []}}},
        {"controlplane": {"publicUrl": "spendgate.example.com"}},
        {"workspace": "Prod!"},
        {"image": {"digest": "sha256:1234"}},
        {"sidecar": {"dataSizeLimit": "lots"}},
    ],
)
def test_the_chart_refuses_wrong_values(values: Document) -> None:
    """By its schema, before anything is applied; an empty list of namespaces would let everybody in."""
    with pytest.raises(Refused, match="don't meet the specifications of the schema"):
        helm(CHART, values)


def test_the_chart_has_the_version_of_the_package() -> None:
    """One release, one number."""
    project = (CHART.parents[2] / "pyproject.toml").read_text()
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert f'version = "{version}"' in project


def test_the_rules_of_the_example_are_valid(sets: dict[str, list[Document]]) -> None:
    """What the generated ConfigMap holds is read as the sidecar reads it, from where it is mounted."""
    (config_map,) = [document for document in sets["component"] if document["kind"] == "ConfigMap"]
    (container,) = our_containers(sets["component"])
    assert "/etc/spendgate/rules/budgets.yaml" == container.environment["SPENDGATE_RULES"]
    assert 2 == read_rule_set(config_map["data"]["budgets.yaml"].encode(), DocumentFormat.YAML).count
