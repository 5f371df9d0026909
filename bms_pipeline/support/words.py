"""Stand-ins for words: each word of the tenant becomes another one, the same everywhere in a bundle.

A stand-in keeps the traits matching looks at: length, case, script, accents, digits as digits. Two words taken for
one by matching (``Müller``, ``Mueller``) stay one, and two different words stay different. Three things need the whole
vocabulary, so it is read first:

* ``Data Soft`` and ``DataSoft`` are near-identical, so ``DataSoft`` is cut in two words here, too.
* A place where one word is written in several scripts keeps its letter.
* A misspelt word differs from the right one in the same places as before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator

from rapidfuzz import process
from rapidfuzz.distance import Opcodes
from rapidfuzz.distance.Indel import normalized_similarity, opcodes

from bms_pipeline.core import junk
from bms_pipeline.support.letters import DIGIT, FIXED, LATIN, Sign, Word, alphabet, core_of, pieces
from bms_pipeline.warehouse import names

_LATIN = "abcdefghijklmnopqrstuvwxyz"
_CONSONANTS = "bcdfghjklmnpqrstvwxz"
_VOWELS = "aeiou"
_TRIES = 400
_NEAR = 0.75
"""Words at least this alike are spellings of one word: their stand-ins differ in the same places."""
_LEAST_NEAR = 5
"""Length from which a word has spellings: shorter words are alike by chance."""
MOST_COMPARED = 20_000
"""More words than these are not compared with each other: it would take minutes."""


class Words:
    """The stand-ins of the words in ``texts``, by ``key``. ``whole_names``: the texts compared whole by matching.

    No stand-in is one of these words, nor one of ``taken``.
    """

    def __init__(
        self, key: bytes, texts: Iterable[str], whole_names: Iterable[str] = (), taken: Iterable[str] = ()
    ) -> None:
        self._key = key
        self._given: dict[str, str] = {}
        words: dict[str, set[Word]] = defaultdict(set)
        named = set(whole_names)
        for text in {*texts, *named}:
            for word in _words(text):
                words[core_of(word)].add(word)
        self._cuts = _cuts(named)
        kinds = self._kinds(words)
        self._originals = frozenset(words) | frozenset(kinds) | {names.shaped(word) for word in taken}
        self._stand_ins: dict[str, str] = {}
        self._kinds_of = kinds
        self.compared = len(kinds) <= MOST_COMPARED
        self._choose(kinds)
        self.known = {core: self._joined(core) for core in words}
        """The core of each word → the core of its stand-in."""

    def stand_in(self, text: str) -> str:
        """Return ``text`` with a stand-in for each of its words; an unknown word becomes x."""
        return "".join(piece if isinstance(piece, str) else self._rewritten(piece) for piece in pieces(text))

    def has(self, text: str) -> bool:
        """Return whether a word of ``text`` is one of the vocabulary."""
        return any(core_of(word) in self.known for word in _words(text))

    def _rewritten(self, word: Word) -> str:
        written = "".join(sign.written for sign in word)
        known = self._given.get(written)
        if known is None:
            known = self._given[written] = self._replaced(word)
        return known

    def _replaced(self, word: Word) -> str:
        core = core_of(word)
        if _says_nothing(core):
            return "".join(sign.written for sign in word)
        standin = self.known.get(core)
        if standin is None:
            return "".join("0" if sign.kind == DIGIT else "x" if sign.core else "" for sign in word)
        kinds = [kind for part in self._parts(core) for kind in self._kinds_of[part]]
        return "".join(_in_its_way(word, standin, kinds))

    def _joined(self, core: str) -> str:
        return "".join(self._stand_ins[part] for part in self._parts(core))

    def _parts(self, core: str) -> list[str]:
        """Return the parts of ``core``."""
        ends = [*sorted(self._cuts.get(core, ())), len(core)]
        return [core[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _kinds(self, words: dict[str, set[Word]]) -> dict[str, list[str]]:
        """Return for each part of a word what may stand in each place of it: a kind of character, or ``FIXED``."""
        found: dict[str, list[set[str]]] = {}
        for core, spellings in words.items():
            places: list[set[str]] = [set() for _ in core]
            for word in spellings:
                place = 0
                for sign in word:
                    for n in range(place, place + len(sign.core)):
                        places[n].add(sign.kind)
                    place += len(sign.core)
            place = 0
            for part in self._parts(core):
                known = found.setdefault(part, [set() for _ in part])
                for n, kinds in enumerate(places[place : place + len(part)]):
                    known[n] |= kinds
                place += len(part)
        return {part: _agreed(part, places) for part, places in found.items()}

    def _choose(self, kinds: dict[str, list[str]]) -> None:
        """Choose the stand-in of each part: in an order known to the key only, so chance favours none."""
        taken: set[str] = set()
        spelled: dict[int, list[str]] = defaultdict(list)
        for part in sorted(kinds, key=lambda part: (_is_open(kinds[part]), self._digest(part, 0))):
            if _says_nothing(part):
                self._stand_ins[part] = part
                taken.add(part)
                continue
            like = self._like(part, spelled) if self.compared else None
            self._stand_ins[part] = chosen = self._chosen(part, kinds[part], taken, like)
            taken.add(chosen)
            if len(part) >= _LEAST_NEAR and part.isalpha():
                spelled[len(part)].append(part)

    def _like(self, part: str, spelled: dict[int, list[str]]) -> str | None:
        """Return an earlier word with ``part`` as a possible spelling."""
        if len(part) < _LEAST_NEAR or not part.isalpha():
            return None
        choices = [word for length in range(len(part) - 2, len(part) + 3) for word in spelled.get(length, ())]
        found = process.extractOne(part, choices, scorer=normalized_similarity, score_cutoff=_NEAR)
        return found[0] if found else None

    def _chosen(self, part: str, kinds: list[str], taken: set[str], like: str | None) -> str:
        pattern = _inherited(self._stand_ins[like], opcodes(like, part), len(part)) if like is not None else {}
        for attempt in range(_TRIES):
            if attempt == _TRIES // 2:
                pattern = {}
            chosen = self._attempt(part, kinds, attempt, pattern)
            is_new = chosen not in taken and (chosen not in self._originals or len(part) < 3)
            if is_new and not _says_nothing(chosen) and not junk.is_junk_text(chosen) and _is_stable(chosen, kinds):
                return chosen
        # Few letters make few words: another one than its own is all that is left to ask for.
        left = (self._attempt(part, kinds, attempt, {}) for attempt in range(_TRIES, 10 * _TRIES))
        return next((chosen for chosen in left if chosen not in taken and not _says_nothing(chosen)), part)

    def _attempt(self, part: str, kinds: list[str], attempt: int, pattern: dict[int, str]) -> str:
        numbers = self._numbers(part, attempt)
        is_vowel = next(numbers) % 2 == 0
        chosen = []
        for place, (letter, kind) in enumerate(zip(part, kinds, strict=True)):
            number = next(numbers)
            if kind == FIXED:
                chosen.append(letter)
            elif kind == DIGIT:
                chosen.append("0123456789"[number % 10])
            elif place in pattern and kind == LATIN:
                chosen.append(pattern[place])
            elif kind == LATIN:
                choices = _LATIN if len(part) < 4 or attempt > _TRIES // 2 else _VOWELS if is_vowel else _CONSONANTS
                chosen.append(choices[number % len(choices)])
            else:
                choices = alphabet(kind)
                chosen.append(choices[number % len(choices)])
            is_vowel = chosen[-1] not in _VOWELS
        return "".join(chosen)

    def _digest(self, part: str, attempt: int) -> bytes:
        return hmac.digest(self._key, f"{attempt} {part}".encode("utf-8", "surrogatepass"), "sha256")

    def _numbers(self, part: str, attempt: int) -> Iterator[int]:
        stream = hashlib.shake_256(self._digest(part, attempt)).digest(4 * (len(part) + 1))
        return (int.from_bytes(stream[n : n + 4]) for n in range(0, len(stream), 4))


def _words(text: str) -> list[Word]:
    """Return the identifying words of ``text``."""
    return [piece for piece in pieces(text) if not isinstance(piece, str) and not _says_nothing(core_of(piece))]


def _says_nothing(core: str) -> bool:
    """Return whether a word is never replaced: a legal form, ``and``, a single letter or digit."""
    return not core or core in names.SAYS_NOTHING or (len(core) == 1 and core.isascii())


def _agreed(part: str, places: list[set[str]]) -> list[str]:
    """Return one kind for each place: ``FIXED`` where spellings differ, unless nearly nothing would be replaced."""
    kinds = [next(iter(found)) if len(found) == 1 else FIXED for found in places]
    if kinds.count(FIXED) * 2 <= len(kinds):
        return kinds
    letters = zip(part, kinds, strict=True)
    return [LATIN if kind == FIXED and letter.isascii() and letter.isalpha() else kind for letter, kind in letters]


def _is_open(kinds: list[str]) -> bool:
    return FIXED not in kinds


def _inherited(standin: str, edits: Opcodes, length: int) -> dict[int, str]:
    """Return place → letter of a stand-in, where a word has the letters of the word it is like."""
    return {
        edit.dest_start + n: standin[edit.src_start + n]
        for edit in edits
        if edit.tag == "equal"
        for n in range(edit.src_end - edit.src_start)
        if edit.dest_start + n < length
    }


def _is_stable(chosen: str, kinds: list[str]) -> bool:
    """Return whether matching sees all of ``chosen``, alone and joined with a word before or after it."""
    if names.SECOND_OF_UMLAUT.search(chosen):
        return False
    begins, ends = chosen[0] in "ae" and kinds[0] != FIXED, chosen[-1] in "aou" and kinds[-1] != FIXED
    return len(chosen) < 3 or not (begins or ends)


def _in_its_way(word: Word, standin: str, kinds: list[str]) -> Iterator[str]:
    """Yield the signs of ``word`` with the letters of its stand-in."""
    place = 0
    for sign in word:
        here = range(place, place + len(sign.core))
        place += len(sign.core)
        if not here or all(kinds[n] == FIXED for n in here):
            yield sign.written
        elif len(here) == 1:
            yield _rewritten(sign, standin[here[0]])
        else:
            yield "".join(standin[n] for n in here)


def _rewritten(sign: Sign, letter: str) -> str:
    return letter if sign.kind == FIXED else sign.rewritten(letter)


def _cuts(texts: Iterable[str]) -> dict[str, set[int]]:
    """Return core → the places to cut it, so names of the same letters have the same words.

    A cut in one name cuts the word in every other name with it: repeated until nothing changes.
    """
    same_letters: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for text in texts:
        words = tuple(core_of(piece) for piece in pieces(text) if not isinstance(piece, str))
        words = tuple(word for word in words if word and word not in names.SAYS_NOTHING)
        same_letters["".join(words)].add(words)
    cuts: dict[str, set[int]] = defaultdict(set)
    several = [spellings for spellings in same_letters.values() if len(spellings) > 1]
    is_changed = True
    while is_changed:
        is_changed = False
        for spellings in several:
            places = {place for words in spellings for place in _places(words, cuts)}
            for words in spellings:
                is_changed |= _cut(words, places, cuts)
    return cuts


def _places(words: tuple[str, ...], cuts: dict[str, set[int]]) -> Iterator[int]:
    start = 0
    for word in words:
        yield from (start + place for place in cuts.get(word, ()))
        start += len(word)
        yield start


def _cut(words: tuple[str, ...], places: set[int], cuts: dict[str, set[int]]) -> bool:
    """Cut ``words`` at ``places`` of their joined letters; return whether a cut was new."""
    is_changed = False
    start = 0
    for word in words:
        inside = {place - start for place in places if start < place < start + len(word)}
        if not inside <= cuts.get(word, set()):
            cuts[word] |= inside
            is_changed = True
        start += len(word)
    return is_changed
