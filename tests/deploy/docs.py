"""Each relative link of a page leads to a file, and to a section of it; each function pgalert.f() that it names is defined:
docs.py REPOSITORY. Prints what is not so."""

import re
import sys
from pathlib import Path

repository = Path(sys.argv[1])
pages = [repository / "README.md", *(repository / "docs").glob("*.md"), *(repository / "deploy").rglob("*.md")]
sources = [*(repository / "sql").glob("*.sql"), *(repository / "extension/src").glob("*.rs")]
defined = set(re.findall(r"(?:CREATE FUNCTION|fn) (\w+)\(", "\n".join(source.read_text() for source in sources)))


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


wrong = []
for page in pages:
    text = page.read_text()
    name = page.relative_to(repository)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            wrong.append(f"{name}: {link} leads nowhere")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{name}: {link} leads to no section")
    wrong += [f"{name}: there is no function {used}()" for used in set(re.findall(r"pgalert\.(\w+)\(", text)) - defined]

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
