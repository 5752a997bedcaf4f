"""What deploy/ names is there and agrees with the rest: containers.py REPOSITORY. Prints what does not."""

import re
import sys
from pathlib import Path

import yaml

repository = Path(sys.argv[1])
deploy = repository / "deploy"
wrong = []


def check(right, text):
    if not right:
        wrong.append(text)


def found(file, pattern):
    match = re.search(pattern, (repository / file).read_text(), re.MULTILINE)
    return match and match[1]


compose = yaml.safe_load((deploy / "compose.yaml").read_text())
for name, service in compose["services"].items():
    check("healthcheck" in service, f"compose: {name} has no healthcheck")
    # Compose copies a secret from a variable into the container's own file system.
    check(not (service.get("read_only") and service.get("secrets")), f"compose: {name} cannot be read_only with its secrets")
    for port in service.get("ports", []):
        check(port.startswith("127.0.0.1:"), f"compose: {name} opens {port} to more than this machine")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        there = (deploy / source).exists() if source.startswith(".") else source in compose["volumes"]
        check(there, f"compose: {name} mounts {source}, which is not there")
    if "build" in service:
        check((repository / service["build"]["dockerfile"]).exists(), f"compose: {name} is built from no Dockerfile")
    else:
        check(re.search(r":v?\d+\.\d+", service["image"]), f"compose: the image of {name} has no version")

# The collector that the driver names is one of the services.
collector = compose["services"]["driver"]["environment"]["PGALERT_TRACES_ENDPOINT"]
check(re.fullmatch(r"http://(\w+):4318", collector)[1] in compose["services"], f"compose: nothing takes traces at {collector}")

example = (deploy / "compose/env.example").read_text()
for variable in re.findall(r"^\s+environment: (\w+)$|\$\{(\w+)", (deploy / "compose.yaml").read_text(), re.MULTILINE):
    check(f"{''.join(variable)}=" in example, f"compose/env.example does not have {''.join(variable)}")

for file in (deploy / "docker").glob("*.Dockerfile"):
    text = file.read_text()
    for source in re.findall(r"^COPY (?:--chmod=\S+ )?([^-\s]\S*)", text, re.MULTILINE):
        check((repository / source).exists(), f"{file.name} copies {source}, which is not there")
    last = text[text.rindex("FROM "):]
    check(re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE), f"{file.name} runs as root")
    check("HEALTHCHECK" in last, f"{file.name} has no health check")
    rust = found("Cargo.toml", r'^rust-version = "(.+)"')
    check(f"FROM rust:{rust}-" in text, f"{file.name} builds with another Rust than {rust}")

pgrx = found("tests/setup.sh", r"^pgrx_version=(.+)$")
check(pgrx == found("deploy/docker/postgres.Dockerfile", r"cargo-pgrx --version '=(.+)'"), f"cargo-pgrx is not {pgrx}")

selectors = set()
for file in ("deployment", "poddisruptionbudget"):
    manifest = yaml.safe_load((deploy / f"kubernetes/{file}.yaml").read_text())
    selectors.add(str(manifest["spec"]["selector"]["matchLabels"]))
# Prometheus finds the pods that the Deployment makes.
pod = yaml.safe_load((deploy / "kubernetes/deployment.yaml").read_text())["spec"]["template"]
[port] = pod["spec"]["containers"][0]["ports"]
[scrape] = yaml.safe_load((deploy / "prometheus/kubernetes.yml").read_text())["scrape_configs"]
wanted = f"{pod['metadata']['labels']['app.kubernetes.io/name']};{port['name']}"
check(scrape["relabel_configs"][0]["regex"] == wanted, f"prometheus/kubernetes.yml does not look for {wanted}")

check(len(selectors) == 1, "the PodDisruptionBudget is of other pods than the Deployment's")

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
