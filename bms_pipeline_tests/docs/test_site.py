"""The documents lead somewhere: every link of README and docs/, on a Git host as on the built site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


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

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = list(pages(nav))
    written = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")}
    assert written - set(listed) == set(), "Add the page to `nav` in mkdocs.yml"
    assert len(listed) == len(set(listed))
