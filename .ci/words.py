"""Measure how this project writes: ``python .ci/words.py``.

Counts the words of docstrings and docs, the loop variables, the public names and the longest line of a template. It
reads the files of the checkout and changes nothing.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bms_pipeline"
BANNED = re.compile(
    r"\b(told|said|anew|beside|whom|bears|whoever|so many|what is to become of|stood|meanwhile)\b", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_CODE_BLOCK = re.compile(r"```.*?```", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])[`\"'*)]*\s+")


@dataclass(frozen=True)
class Measures:
    """What ``measure`` counts. Shares are between 0 and 1.

    ``ambiguous``: a public name → the modules in which it means different things.
    """

    docstring_words: int
    that_per_thousand: float
    banned_per_thousand: float
    words_per_sentence: float
    each_share: float
    ambiguous: dict[str, list[str]]
    top_level_modules: int
    longest_template_line: int
    package_lines: int


def measure(root: Path = ROOT) -> Measures:
    """Read the checkout at ``root``."""
    package = root / "bms_pipeline"
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in _python_files(package)}
    docstrings = [text for tree in trees.values() for text in _docstrings(tree)]
    words = [word.lower() for text in docstrings for word in _WORD.findall(text)]
    loops = Counter(name for tree in trees.values() for name in _loop_variables(tree))
    docs = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    sentences = [sentence for file in docs for sentence in _sentences(file.read_text(encoding="utf-8"))]
    templates = [line for file in package.rglob("*.j2") for line in file.read_text(encoding="utf-8").splitlines()]
    return Measures(
        docstring_words=len(words),
        that_per_thousand=1000 * words.count("that") / len(words),
        banned_per_thousand=1000 * sum(len(BANNED.findall(text)) for text in docstrings) / len(words),
        words_per_sentence=sum(len(_WORD.findall(sentence)) for sentence in sentences) / len(sentences),
        each_share=loops["each"] / max(1, loops.total()),
        ambiguous=_ambiguous(trees, package),
        top_level_modules=len(list(package.glob("*.py"))) - 1,
        longest_template_line=max(map(len, templates)),
        package_lines=sum(len(file.read_text(encoding="utf-8").splitlines()) for file in trees),
    )


def _python_files(package: Path) -> list[Path]:
    """The modules of the product; the stand-ins for both services are a package of their own."""
    return [file for file in sorted(package.rglob("*.py")) if "sandbox" not in file.relative_to(package).parts]


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Strings that stand alone: docstrings, and the texts under assignments that describe what was assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _loop_variables(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            for target in ast.walk(node.target):
                if isinstance(target, ast.Name) and target.id != "_":
                    yield target.id


def _sentences(markdown: str) -> Iterator[str]:
    """The sentences of a page: no code, no tables, no headings; an item of a list is a paragraph."""
    text = _CODE_BLOCK.sub("", markdown)
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins_item = re.match(r"\s*(?:[-*]|\d+\.) ", line)
        if not line.strip() or begins_item or line.lstrip().startswith(("#", "|", "!", "<", ">")):
            yield from (part for part in _SENTENCE_END.split(" ".join(paragraph)) if _WORD.search(part))
            paragraph = [line] if begins_item else []
        else:
            paragraph.append(line.strip())


_SHELLS = ("cli/", "console/pages/", "defs/")
"""A command, a page or a sensor has the name of the use case that it calls: that is one meaning."""


def _ambiguous(trees: dict[Path, ast.Module], package: Path) -> dict[str, list[str]]:
    """Public classes and functions of modules whose name means something else in another module."""
    defined: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees.items():
        if file.relative_to(package).as_posix().startswith(_SHELLS):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                defined[node.name].append(str(file.relative_to(package)))
    return {name: files for name, files in sorted(defined.items()) if len(files) > 1}


def main() -> None:
    """Print what was measured."""
    found = measure()
    print(f"docstring words                    {found.docstring_words:,}")
    print(f"'that' per 1,000 docstring words   {found.that_per_thousand:.1f}")
    print(f"banned words per 1,000             {found.banned_per_thousand:.1f}")
    print(f"words a sentence, README and docs  {found.words_per_sentence:.1f}")
    print(f"loop variables `each`              {found.each_share:.0%}")
    print(f"top-level modules                  {found.top_level_modules}")
    print(f"longest template line              {found.longest_template_line}")
    print(f"lines of the package               {found.package_lines:,}")
    print(f"public names of several meanings   {len(found.ambiguous)}")
    for name, files in found.ambiguous.items():
        print(f"  {name}: {', '.join(files)}")


if __name__ == "__main__":
    main()
