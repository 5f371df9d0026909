"""How the stand-in for Passportal behaves: a switch for each guess, and for each way in which a call can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bms_sandbox.behaviour import Fault, Switches

FAULT_KINDS = frozenset({"status", "html", "truncated", "cut", "hang", "trickle", "empty_body", "redirect", "huge"})
"""The faults of ``Fault`` that are not about lists and envelopes as BMS has them."""


@dataclass(frozen=True)
class PassportalBehaviour(Switches):
    """The switches. A request in a form that they do not allow is refused with 400, and nothing of it is done.

    How answers look:
        ``details_form``: ``details`` by keys made from labels [D] or by positions [L].
        ``bare_values``: some values as bare strings and blank ones as null; else every value is an object [D].
        ``one_document``: a single document beside ``success`` [C], or below ``results`` [G].
        ``success_text``: ``success`` as "true" and "false" [D].
        ``end_of_pages``: what ``results`` is behind the last page: no rows, null, or "null" as a text [C].
        ``expiry_text``: ``expiry_time`` as a text [D].
        ``encoded_names``: names of clients URL- and HTML-encoded [C]; ``encoded_titles``: titles of documents, too.
        ``template_ids``: how rows name their template, ``79`` or ``tpl-79``.
        ``refused_with_200``: refusals come with HTTP 200, and only ``success`` tells [C].
    How requests must look [G]:
        ``body``: a batch as an array, or as ``{"documents": [...]}``.
        ``values``: a field's value as a text by its label or key, or as an element by its key, or either.
        ``update``: ``PUT /documents/{id}`` with one document, or ``PUT /documents`` with a batch; the other is 405.
        ``sign_in``: a sign-in as JSON [D], as a form [C], or either.
        ``template_uids``: a template as ``tpl-79``, as ``TPL-79`` only, as ``79``, or either [C].
        ``list_path``: where documents are listed; the other is 404.
        ``custom_id_writable``: whether a ``customId`` that is sent is kept; else it is ignored without a word.
        ``batch_refusal``: with a bad document in it, nothing of a batch is done, or the good ones are although it
        says that it failed.
    What the key may do:
        ``documentation_manager``: whether the key's user has it; else 403 for every call of documents.
        ``hidden_clients``: ids of clients that the key's user has no access to.
        ``same_login_error``: a wrong secret is answered as an unknown key is, 1000 instead of 1001 [G].
    Limits:
        ``page_cap``: rows of a page at most, whatever is asked for. ``token_lifetime_seconds``.
        ``listed_after``: so many list calls do not yet show a new document.
    The tenant's templates, by a template's name:
        ``missing_labels``: labels that were taken out of it, ``added_labels``: that were put into it.
        ``spelled_labels``: label → how the tenant spells it.
        ``label_types``: label → "select", "boolean", "html", "link" or what else is no plain text.
        ``label_options``: label → the only words that it takes. ``required_labels``: those that must not be blank.
        ``deleted_templates``: names of templates by which no document can be created any more.
        ``blanks``: elements without a value are shown, or left out. ``notes_as_html``: a text of several lines or of
        notes is kept as formatted text. ``ignores_details``: new documents are created blank.
        ``ignores_unknown``: a label that the template lacks is dropped without a word; else the document is refused.
    What goes wrong:
        ``latency_seconds``: before each answer. ``faults``, ``failing_share``, ``failing_seed``: as in ``Behaviour``;
        of ``faults`` those in ``FAULT_KINDS``. A call that fails by "status" has no effect, any other has.
        ``lose_answers``: the writes whose effect happens and whose answer is lost: a share of them, or their numbers
        (1 is the first since the switches were set). ``lose_calls``: the writes that are lost before any effect.
        ``lost_shows``: a lost write shows as a closed connection, or as a gateway's 502.
    """

    details_form: Literal["keys", "positions"] = "keys"
    bare_values: bool = False
    one_document: Literal["results", "flat"] = "flat"
    success_text: bool = False
    end_of_pages: Literal["empty", "null", "text"] = "empty"
    expiry_text: bool = False
    encoded_names: bool = True
    encoded_titles: bool = False
    template_ids: Literal["number", "uid"] = "number"
    refused_with_200: bool = False

    body: Literal["array", "object"] = "array"
    values: Literal["text", "element", "either"] = "text"
    update: Literal["one", "batch"] = "one"
    sign_in: Literal["json", "form", "either"] = "either"
    template_uids: Literal["prefixed", "capitals", "bare", "either"] = "either"
    list_path: Literal["documents", "all", "both"] = "both"
    custom_id_writable: bool = False
    batch_refusal: Literal["whole", "partial"] = "whole"

    documentation_manager: bool = True
    hidden_clients: tuple[int, ...] = ()
    same_login_error: bool = False

    page_cap: int = 1000
    token_lifetime_seconds: float = 3300
    listed_after: int = 0

    missing_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    added_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spelled_labels: dict[str, dict[str, str]] = field(default_factory=dict)
    label_types: dict[str, dict[str, str]] = field(default_factory=dict)
    label_options: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    required_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deleted_templates: tuple[str, ...] = ()
    blanks: Literal["shown", "left out"] = "shown"
    notes_as_html: bool = False
    ignores_details: bool = False
    ignores_unknown: bool = False

    latency_seconds: float = 0
    faults: tuple[Fault, ...] = ()
    failing_share: float = 0
    failing_seed: int = 0
    lose_answers: float | tuple[int, ...] = 0
    lose_calls: float | tuple[int, ...] = 0
    lost_shows: Literal["nothing", "502"] = "nothing"

    def __post_init__(self) -> None:
        """Refuse a fault that could not show."""
        if strange := sorted({each.kind for each in self.faults} - FAULT_KINDS):
            raise ValueError(f"faults that only BMS has: {', '.join(strange)}")
