"""What Grafana would stumble over in the dashboards: dashboards.py FOLDER. Prints what is wrong."""

import json
import sys
from pathlib import Path

import yaml

folder = Path(sys.argv[1])
dashboards = {file.name: json.loads(file.read_text()) for file in sorted((folder / "dashboards").glob("*.json"))}
[source] = yaml.safe_load((folder / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
[provider] = yaml.safe_load((folder / "provisioning/dashboards/pgalert.yml").read_text())["providers"]
compose = yaml.safe_load((folder.parent / "compose.yaml").read_text())["services"]["grafana"]["volumes"]

wrong = []


def check(right, text):
    if not right:
        wrong.append(text)


def overlap(one, other):
    return (one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"])


check(dashboards.keys() == {"delivery.json", "dead-letters.json"}, f"dashboards are {[*dashboards]}")
check(len({board["uid"] for board in dashboards.values()}) == len(dashboards), "two dashboards have one uid")
check(len({board["title"] for board in dashboards.values()}) == len(dashboards), "two dashboards have one title")
check(f"./grafana/dashboards:{provider['options']['path']}:ro" in compose, "compose mounts no dashboards where provisioning looks")
check("./grafana/provisioning:/etc/grafana/provisioning:ro" in compose, "compose mounts no provisioning")
check(source["type"] == "prometheus", "the data source is not Prometheus")

for name, board in dashboards.items():
    variables = [variable["name"] for variable in board["templating"]["list"]]
    check(variables == ["datasource", "job"], f"{name}: variables are {variables}")
    check(board["templating"]["list"][1]["datasource"]["uid"] == "${datasource}", f"{name}: jobs of another data source")
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    check(len(set(ids)) == len(ids), f"{name}: two panels have one id")
    for number, panel in enumerate(panels):
        title = f"{name}, {panel['title']}"
        place = panel["gridPos"]
        check(0 <= place["x"] and place["x"] + place["w"] <= 24, f"{title}: out of the grid")
        for other in panels[:number]:
            check(not overlap(place, other["gridPos"]), f"{title}: lies over {other['title']}")
        if panel["type"] == "row":
            continue
        check(panel["targets"], f"{title}: shows nothing")
        references = [target["refId"] for target in panel["targets"]]
        check(len(set(references)) == len(references), f"{title}: two targets have one refId")
        for part in (panel, *panel["targets"]):
            check(part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, f"{title}: another data source")
        for target in panel["targets"]:
            check('job="$job"' in target["expr"], f"{title}: not of one database alone")

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
