"""Each rule is tested, an alert both ways; each alert has a section in the runbook, and no section is without its rule:
runbook.py REPOSITORY"""

import re
import sys
from pathlib import Path

import yaml

repository = Path(sys.argv[1])
rules = yaml.safe_load((repository / "deploy/prometheus/pgalert.rules.yml").read_text())
alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
tests = yaml.safe_load((repository / "tests/deploy/rules.test.yml").read_text())
cases = [case for test in tests["tests"] for case in test.get("alert_rule_test", [])]
runbook = (repository / "docs/runbook.md").read_text()
sections = {name: text for name, text in re.findall(r"^## (Pgalert\w+)\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL)}

wrong = []
for name, rule in alerts.items():
    if rule["annotations"].get("runbook") != f"docs/runbook.md#{name.lower()}":
        wrong.append(f"{name}: its annotation runbook does not name its section")
    if rule["labels"].get("severity") not in ("warning", "critical"):
        wrong.append(f"{name}: no severity")
    for part in ("**What it means.**", "**What to look at.**", "**What to do.**"):
        if part not in sections.get(name, ""):
            wrong.append(f"{name}: its section of docs/runbook.md lacks {part}")
    own = [bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name]
    if not (any(own) and not all(own)):
        wrong.append(f"{name}: rules.test.yml does not show that it fires, and that it does not")
values = {case["expr"] for test in tests["tests"] for case in test.get("promql_expr_test", [])}
records = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
wrong += [f"{name}: rules.test.yml does not show what is recorded" for name in records - values]
wrong += [f"{name}: a section of docs/runbook.md without a rule" for name in sections.keys() - alerts.keys()]
wrong += [f"{case['alertname']}: a test without a rule" for case in cases if case["alertname"] not in alerts]

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
