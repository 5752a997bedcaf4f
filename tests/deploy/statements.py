"""The SQL statements that a page has between backticks, one a line: statements.py PAGE"""

import re
import sys
from pathlib import Path

page = Path(sys.argv[1]).read_text()
for statement in re.findall(r"`((?:SELECT|INSERT|UPDATE|DELETE|CALL)\b[^`]*;)`", page):
    print(" ".join(statement.split()))
