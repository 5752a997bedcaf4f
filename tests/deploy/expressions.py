"""Asks a Prometheus for each expression of the dashboards and each recording rule until it gives data: expressions.py URL DEPLOY

Prints what gives none within two minutes.
"""

import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

LIMIT_S = 120

address, deploy = sys.argv[1], Path(sys.argv[2])
# What dashboards of before ask.
expressions = {
    'rate(agent_invocations{agent_name="alert_retry_worker",status="success"}[5m])': "known name",
    "rate(alert_deliveries_total[5m]) / rate(deliver_alert_calls_total[5m])": "known names",
    'circuit_breaker_state{agent_name="alerts",state="OPEN"} == 1': "known name",
}
for file in sorted((deploy / "grafana/dashboards").glob("*.json")):
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            # As Grafana fills them in.
            for name, value in (("$__rate_interval", "1m"), ("$__range", "5m"), ("$job", "pgalert")):
                expression = expression.replace(name, value)
            expressions[expression] = f"{file.name}, {panel['title']}"
for group in yaml.safe_load((deploy / "prometheus/pgalert.rules.yml").read_text())["groups"]:
    for rule in group["rules"]:
        if "record" in rule:
            expressions[rule["record"]] = "recording rule"


def data(expression):
    """None when there is some, else what Prometheus said."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}") as answer:
            result = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]
    if not result:
        return "no data"
    if all(math.isnan(float(series["value"][1])) for series in result):
        return "only NaN"
    return None


end = time.monotonic() + LIMIT_S
left = dict.fromkeys(expressions)
while left and time.monotonic() < end:
    left = {expression: said for expression in left if (said := data(expression))}
    time.sleep(0.5)

for expression, said in left.items():
    print(f"{expressions[expression]}: {said}: {expression}")
print(f"note: {len(expressions) - len(left)} of {len(expressions)} expressions give data")
sys.exit(bool(left))
