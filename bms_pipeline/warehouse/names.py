"""The one definition of identical names, and of nearly identical ones.

Two names are identical when they are equal after Unicode NFKC, case folding, trimming and collapsing white space
(the integration page: "Users must have identical names for this to work"). ``fold_name`` is the definition; the SQL
takes a short cut for names in plain ASCII and calls ``fold_name`` for the rest.

Two names are nearly identical when one of their ``near_keys`` is the same. This is wider than the judgement of an eye,
because it never matches anything: it only keeps a record from being created next to its double.
"""

from __future__ import annotations

import contextlib
import html
import re
import unicodedata
from collections.abc import Callable, Sequence

import duckdb

from bms_pipeline.core import junk

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Every character that counts as white space; looking for them takes a tenth of a second at each start."""

_SHOWS_NOTHING = (
    # Unicode's default-ignorable code points: soft hyphen, joiners, marks of direction, variation selectors, tags, ...
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    # Control characters, and a Braille cell without dots.
    (0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F), (0x2800, 0x2800),
)  # fmt: skip
_INVISIBLE = {code for first, last in _SHOWS_NOTHING for code in range(first, last + 1)}
_WITHOUT_INVISIBLE = dict.fromkeys(_INVISIBLE)


def fold_name(name: str) -> str | None:
    """Return ``name`` as it is compared; None for a name that shows nothing, because blank never equals blank."""
    folded = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())
    if not folded.isprintable() or not folded.isascii():
        return folded if folded.translate(_WITHOUT_INVISIBLE).strip() else None
    return folded or None


def name_key(name_sql: str) -> str:
    """Return SQL for ``fold_name(name_sql)``.

    Plain ASCII without white space to collapse needs only ``lower`` and ``trim``: nearly every name, at a tenth of the
    time.
    """
    plain = f"regexp_full_match({name_sql}, '[!-~]+( [!-~]+)*')"
    return f"CASE WHEN {plain} THEN lower({name_sql}) ELSE nullif(fold_name({name_sql}), '') END"


def fold_name_for_sql(name: str) -> str:
    """Fold ``name`` for DuckDB, whose functions must not return NULL for a value; see ``fold_name``."""
    return fold_name(name) or ""


def register_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Let SQL call this module. Raises ``duckdb.TransactionException`` while another thread is doing that."""
    for name, call, kind in (
        ("fold_name", fold_name_for_sql, "VARCHAR"),
        ("near_keys", near_keys, "VARCHAR[]"),
        ("serial_keys", junk.serial_keys, "VARCHAR[]"),
        ("is_junk_text", junk.is_junk_text, "BOOLEAN"),
        ("is_other_name", is_other_name, "BOOLEAN"),
    ):
        with contextlib.suppress(duckdb.CatalogException, duckdb.NotImplementedException):  # it is known already
            connection.create_function(name, call, return_type=duckdb.type(kind))


def value(text_sql: str) -> str:
    """Return SQL for a value as it is stored: without white space around it, NULL if nothing is left."""
    # Looking at both ends first is three times as fast as letting trim compare them with every blank there is.
    visible = "BETWEEN 33 AND 126"
    return (
        f"CASE WHEN ord({text_sql}) {visible} AND ord(right({text_sql}, 1)) {visible} THEN {text_sql}"
        f" ELSE nullif(trim({text_sql}, '{BLANKS}'), '') END"
    )


_FORMS = """
    bhd cc co company corp corporation inc incorporated limited llc llp lp ltd plc pllc pte pty pvt sdn tbk
    ag bv bvba cv ek ev gbr gmbh ggmbh kg kgaa mbh nv ohg ug vof vzw ab aps as asa hf ehf oy oyj ks oü ou uab sia
    eirl eurl sa sarl sas sasu sca scop snc scs slu sl spa srl srls sapi lda ltda eireli unipessoal
    sro doo dooel dd eood ood ad kft bt zrt nyrt spzoo zao oao ooo pao тов зао оао ооо пао ао тоо еоод оод ад sti ae epe
    ike kk gk yk
"""
LEGAL_FORMS = frozenset(_FORMS.split())
"""Words for the kind of a company, not for its identity, without dots."""

_LEGAL_PHRASES = re.compile(r"\b(?:sp z ?o ?o|spolka z ?o ?o|spol s r ?o|de [cr][vl])\b")
LEGAL_SIGNS = re.compile("株式会社|有限会社|合同会社|股份有限公司|有限公司|주식회사|유한회사|[(（][株有주][)）]")

_AND = frozenset(("&", "+", "and", "und", "et", "og", "och", "en", "oraz"))
_AND_BETWEEN = frozenset("yei")
"""``and`` in one letter. At the end of a name it is one: Building E."""

_LOOKS_LIKE = (
    "aɑαаᎪꓮ bƅβвьᏏᏴꓐꞵ cсᏟᴄⲥꓚ dðԁᎠᏧꓒꓓ eəɛεеҽᎬ℮ꓰꬲ fϝքẝꓝꞙꬵ gƍɡԍցᏀᏳᶃꓖ hηнһհᎻᏂⲏꓧ iıɩɪιіᎥꙇ jʝϳјᎫꓙ kĸκкᏦⲕꓗ"
    " lǀӏᏞⲓⳑꓡꓲ mμϻмᎷⲙꓟ nŋνոռⲛꓠ oοσоօᴏᴑⲟꓳꬽ pρрᏢⲣꓑ qԛգզ rʀгᎡᎱᏒᴦⲅꓣꭇꭈ sƽѕտᏕᏚꓢꜱ tτтᎢⲧꓔ uʋսᴜꓴꞟꭎꭒ vѵᏙᴠꓦ wɯѡԝաᎳᏔᴡꓪ"
    " x×χхⲭꓫꭓ yʏγυуүᎩᎽᶌỿⲩꓬꭚ zζᏃᴢꓜ"
)
"""A Latin letter, then its look-alikes in folded names: from Unicode's confusables (TR 39), for the scripts of people's
keyboards. For a Greek or Cyrillic letter its capital decides, because names begin with capitals."""
_SAME_LOOK = {ord(sign): group[0] for group in _LOOKS_LIKE.split() for sign in group[1:]}
_SAME_LOOK |= {ord("þ"): "th", ord("æ"): "ae", ord("œ"): "oe"}

_VOWEL_SIGNS = (
    (0x0900, 0x109F), (0x1780, 0x17FF), (0x1A20, 0x1AAF), (0x1B00, 0x1CFF), (0x3099, 0x309A), (0xA800, 0xAAFF),
    (0x11000, 0x11FFF),
)  # fmt: skip
"""Scripts in which Unicode's accents are vowels or make another letter: dropping them makes one name of two."""


class _Table(dict[int, str]):
    """Code point → its replacement, computed when a character first occurs: all of Unicode would take a second."""

    def __init__(self, become: Callable[[str], str]) -> None:
        super().__init__()
        self._become = become

    def __missing__(self, code: int) -> str:
        self[code] = found = self._become(chr(code))
        return found


def _shape(sign: str) -> str:
    """Reduce a character of decomposed text to its shape: the bare letter, or nothing."""
    code = ord(sign)
    if code in _INVISIBLE:
        return ""
    if code in _SAME_LOOK:
        return _SAME_LOOK[code]
    kind = unicodedata.category(sign)[0]
    if kind == "M" and not any(first <= code <= last for first, last in _VOWEL_SIGNS):
        return ""
    return _bare(sign) if kind == "L" else sign


def _bare(letter: str) -> str:
    """Return ``letter`` without its stroke, hook or tail: Unicode names it after the bare letter."""
    name = unicodedata.name(letter, "")
    plain = name.partition(" WITH ")[0].replace("LATIN LETTER SMALL CAPITAL", "LATIN SMALL LETTER")
    try:
        found = unicodedata.lookup(plain)
    except KeyError:
        return letter
    return _SAME_LOOK.get(ord(found), found)


_SHAPES = _Table(_shape)
_WORDS = _Table(lambda sign: sign if unicodedata.category(sign)[0] in "LMN" else " & " if sign in "&+" else " ")


def shaped(text: str) -> str:
    """Reduce ``text`` to the shapes of its characters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).translate(_SHAPES))


_LEGAL_SHAPES = frozenset(shaped(form) for form in LEGAL_FORMS)
_NO_NAMES = _LEGAL_SHAPES | {"&"}
_RARE = frozenset(("sp", "spolka", "spol", "de"))
"""The first words of legal forms with several words."""
SAYS_NOTHING = _LEGAL_SHAPES | _AND | _RARE
"""Words, as ``shaped`` has them, that identify nobody: legal forms, ``and``, the first words of longer legal forms."""
_ASCII_WORDS = re.compile("[a-z0-9]+|[&+]")
HTML_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});")
_INITIALS = re.compile(r"(?<!\w)(?:[^\W\d_]\.\s?){2,}(?:[^\W\d_](?!\w))?")
_SINGLE_LETTERS = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_])+(?!\S)")
SECOND_OF_UMLAUT = re.compile("(?<=[aou])e|(?<=a)a")


def near_keys(folded: str) -> list[str | None]:
    """Return the two keys of a folded name: its words in any order, and its letters in theirs. None for an empty key.

    The keys leave out HTML entities, invisible characters, accents, strokes, look-alikes of other scripts, the
    spelling of umlauts, punctuation, the dots of initials, ``and`` and legal forms. The second key does without
    spaces, too.
    """
    text = _decoded(folded) if "&" in folded and ";" in folded else folded
    if not text.isascii():
        text = shaped(LEGAL_SIGNS.sub(" ", text))
    if "." in text:
        text = _INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[0]) + " ", text)
    words = _significant(_ASCII_WORDS.findall(text) if text.isascii() else text.translate(_WORDS).split())
    return [" ".join(sorted(words)), _run_together(words)] if words else [None, None]


def _decoded(folded: str) -> str:
    """Return ``folded`` without HTML entities, also where they were encoded twice or three times."""
    for _ in range(3):
        decoded = HTML_ENTITY.sub(lambda found: html.unescape(found[0]), folded)
        if decoded == folded:
            break
        folded = fold_name(decoded) or ""
    return folded


def _significant(words: list[str]) -> list[str]:
    """Return the words that identify the company, person, place or device, in one spelling."""
    if not _AND.isdisjoint(words):
        words = ["&" if word in _AND else word for word in words]
    if not _RARE.isdisjoint(words) or any(len(word) == 1 for word in words):
        last = len(words) - 1
        between = ("&" if word in _AND_BETWEEN and 0 < n < last else word for n, word in enumerate(words))
        words = _SINGLE_LETTERS.sub(_initialism, _LEGAL_PHRASES.sub(" ", " ".join(between))).split()
    return SECOND_OF_UMLAUT.sub("", " ".join([word for word in words if word not in _NO_NAMES])).split()


def _initialism(found: re.Match[str]) -> str:
    """Join single letters into one word: those of a legal form after a name (``Bolt S A``), or three and more."""
    joined = found[0].replace(" ", "")
    return joined if len(joined) > 2 or (joined in _LEGAL_SHAPES and found.start()) else found[0]


def _run_together(words: Sequence[str]) -> str:
    """Join ``words`` without spaces, except between digits: 1-11 is not 11-1."""
    joined = ""
    for word in words:
        joined += f" {word}" if joined[-1:].isdigit() and word[0].isdigit() else word
    return joined


_ALIKE = 70.0
"""Names whose letters are at least this alike, out of 100, may be spellings of one name."""


def is_other_name(one: str, other: str) -> bool:
    """Return whether two names share neither a word nor most of their letters, and neither contains the other."""
    from rapidfuzz import fuzz  # late: most runs compare no names

    (words, letters), (other_words, other_letters) = (near_keys(fold_name(name) or "") for name in (one, other))
    if words is None or letters is None or other_words is None or other_letters is None:
        return (words is None) != (other_words is None)
    if set(words.split()) & set(other_words.split()) or letters in other_letters or other_letters in letters:
        return False
    return fuzz.ratio(letters, other_letters) < _ALIKE
