"""Kubernetes manifests as their users get them: read, built by kustomize, rendered by Helm's own engine, validated."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.processes import ROOT

CONFIG: Final = ROOT / "config"
KUBERNETES: Final = CONFIG / "kubernetes"
CHART: Final = CONFIG / "helm" / "spendgate"
DEPLOY_BIN: Final = ROOT / ".venv" / "deploy" / "bin"
TIMEOUT_S: Final = 60.0
RENDER: Final = """
import json, sys
from helm_python.chart import Chart
with Chart.load(sys.argv[1]) as chart:
    print(json.dumps(chart.render(values=json.loads(sys.argv[2]), name="demo", namespace="spendgate")))
"""

Document = dict[str, Any]


class Refused(Exception):
    """A tool did not accept what it was given; the message is the tool's."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of ours in a pod, with what is around it."""

    spec: Document
    pod: Document
    is_init: bool

    @property
    def environment(self) -> dict[str, str]:
        """The variables that are set to a value."""
        return {entry["name"]: entry["value"] for entry in self.spec["env"]}

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name."""
        return {port["name"]: port["containerPort"] for port in self.spec["ports"]}


def read(path: Path) -> list[Document]:
    """Return the documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def kustomize(directory: Path) -> list[Document]:
    """Build a kustomization with kustomize or kubectl, whichever is here."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        raise Refused("these tests need kubectl or kustomize: install one of them")
    result = subprocess.run([*command, str(directory)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode:
        raise Refused(result.stderr)
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def helm(chart: Path, values: Mapping[str, Any]) -> list[Document]:
    """Render a chart with values; raises `Refused` with Helm's words."""
    command = [DEPLOY_BIN / "python", "-c", RENDER, str(chart), json.dumps(values)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode:
        raise Refused(result.stderr)
    templates = json.loads(result.stdout)
    texts = [text for name, text in sorted(templates.items()) if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def faults(documents: list[Document], version: str, directory: Path) -> str:
    """Return what the schemas of a Kubernetes version have against documents; nothing is an empty string."""
    path = directory / f"manifests-{version}.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    command = [DEPLOY_BIN / "kubernetes-validate", "--strict", "--quiet", "-k", version, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return result.stdout + result.stderr if result.returncode or "WARN" in result.stderr else ""


def pods(documents: list[Document]) -> Iterator[Document]:
    """Yield the pod templates of the deployments."""
    for document in documents:
        if document["kind"] == "Deployment":
            yield document["spec"]["template"]


def our_containers(documents: list[Document]) -> list[Container]:
    """Return the containers that run the image of this repository."""
    return [
        Container(spec, pod, place == "initContainers")
        for pod in pods(documents)
        for place in ("initContainers", "containers")
        for spec in pod["spec"].get(place, ())
        if "spendgate" in spec["image"]
    ]


def injected_sidecar(policy: Document) -> Document:
    """Return the container that a MutatingAdmissionPolicy adds: CEL's objects read like YAML's."""
    expression = policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    added = expression.partition("path: '/spec/initContainers/0',")[2].partition("value: ")[2]
    literal = re.sub(r"Object[\w.]*\{", "{", added)
    depth = 0
    for position, letter in enumerate(literal):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            loaded: Document = yaml.safe_load(literal[: position + 1])
            return loaded
    raise Refused("the policy's expression does not end")
