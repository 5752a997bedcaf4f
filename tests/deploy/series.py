"""docs/monitoring.md lists each family of series of a driver, and no other: series.py URL PAGE. Prints what differs."""

import re
import sys
import urllib.request
from pathlib import Path

address, page = sys.argv[1], Path(sys.argv[2]).read_text()
ends = {"counter": "_total", "info": "_info"}
with urllib.request.urlopen(address) as answer:
    families = re.findall(r"^# TYPE (\w+) (\w+)$", answer.read().decode(), re.MULTILINE)
shown = {name + ends.get(kind, "") for name, kind in families}
listed = set(re.findall(r"`(\w+)(?:\{[^}`]*\})?`", page))
listed = {name for name in listed if name.startswith("pgalert_") or name in shown}

print("".join(f"{name} is not in {sys.argv[2]}\n" for name in sorted(shown - listed)), end="")
print("".join(f"{name} is shown by no driver\n" for name in sorted(listed - shown)), end="")
sys.exit(shown != listed)
