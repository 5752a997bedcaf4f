"""Each relative link of a page leads to a file, and to a section of it; each function pgalert.f() and each setting `section.key` that
it names is there; the README leads to each page: docs.py REPOSITORY. Prints what is not so."""

import re
import sys
import tomllib
from pathlib import Path

repository = Path(sys.argv[1])
pages = [repository / "README.md", *(repository / "docs").glob("*.md"), *(repository / "deploy").rglob("*.md")]
sources = [*(repository / "sql").glob("*.sql"), *(repository / "extension/src").glob("*.rs")]
defined = set(re.findall(r"(?:CREATE FUNCTION|fn) (\w+)\(", "\n".join(source.read_text() for source in sources)))
settings = tomllib.loads((repository / "driver/src/config.default.toml").read_text())
# What a template is called, or the class of an error.
others = re.compile(r"webhook\.json|(http|slack)\.(\d\w\w|ratelimited|other)")


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
    for section, key in set(re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", text)):
        if section in settings and key not in settings[section] and not others.fullmatch(f"{section}.{key}"):
            wrong.append(f"{name}: there is no setting {section}.{key}")
    wrong += [f"{name}: there is no function {used}()" for used in set(re.findall(r"pgalert\.(\w+)\(", text)) - defined]
readme = (repository / "README.md").read_text()
for page in (repository / "docs").glob("*.md"):
    if f"](docs/{page.name})" not in readme:
        wrong.append(f"README.md does not lead to docs/{page.name}")

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
