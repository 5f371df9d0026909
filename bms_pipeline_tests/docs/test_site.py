"""The documents lead somewhere: every link of README and docs/, on a Git host as on the built site."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def contents() -> dict[str, Any]:
    """What ``mkdocs.yml`` says."""
    site: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return site


def prose(file: Path) -> str:
    """The document without its code."""
    return CODE.sub("", file.read_text(encoding="utf-8"))


def anchors(file: Path) -> set[str]:
    """The addresses of the document's headings, as Git hosts and MkDocs make them from plain words."""
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(file: Path) -> None:
    broken = []
    for target in LINK.findall(prose(file)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, heading = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        if not found.is_file() or (heading and heading not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_no_page_of_the_site_links_to_a_file_that_the_site_lacks() -> None:
    """Links out of ``docs/`` work on a Git host alone; a page from outside may link to another one, or into it."""
    hook = ast.parse((DOCS / "site_pages.py").read_text(encoding="utf-8"))
    (pages,) = (
        ast.literal_eval(statement.value)
        for statement in hook.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PAGES"
    )
    outside = []
    for file in (file for file in DOCUMENTS if file.parent != ROOT or file.name in pages):
        for target in (target for target in LINK.findall(prose(file)) if "://" not in target):
            found = (file.parent / target.partition("#")[0]).resolve()
            from_root = file.parent == ROOT and found.parent == ROOT and found.name in pages
            if not (target.startswith("#") or found.is_relative_to(DOCS) or from_root):
                outside.append(f"{file.name}: {target}")
    assert outside == []


def test_the_site_loads_nothing_from_another_server() -> None:
    """The theme would load its fonts from one, and the search from a disk a script from another."""
    site = contents()
    assert site["theme"]["font"] is False
    assert [script for script in site["extra"]["polyfills"] if not (DOCS / script).is_file()] == []
    assert any("iframe-worker" in script for script in site["extra"]["polyfills"])


def test_every_document_is_in_the_sites_contents() -> None:
    def pages(entry: object) -> Iterator[str]:
        match entry:
            case str(page):
                yield page
            case list(entries):
                for inner in entries:
                    yield from pages(inner)
            case dict(titles):
                for inner in titles.values():
                    yield from pages(inner)

    listed = list(pages(contents()["nav"]))
    written = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")}
    assert written - set(listed) == set(), "Add the page to `nav` in mkdocs.yml"
    assert len(listed) == len(set(listed))
