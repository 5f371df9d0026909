"""Creating documents: the first of each template on trial, then many in a call.

    writes ──▶ documents ──▶ trial ──▶ batches ──▶ answered: done
                                          ├──▶ answer lost: look for them; not found is unknown
                                          └──▶ refused: look for them; the missing ones again, one by one

After a lost answer nothing is sent again: the writes are looked for first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import AccessRefused, LoginRefused, RequestRefused, ServiceError
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.documents import pace
from bms_pipeline.passportal.documents.flow import Flow, Later
from bms_pipeline.passportal.documents.memory import Template
from bms_pipeline.passportal.documents.search import MarkerSearch
from bms_pipeline.passportal.documents.sending import LOST, WriteSender, portions_of, steps_unless
from bms_pipeline.passportal.documents.templates import DocumentTemplates, NewDocument
from bms_pipeline.passportal.documents.trials import TemplateTrials
from bms_pipeline.passportal.documents.verdicts import all_not_sent, all_refused, refused
from bms_pipeline.passportal.target import Leaving, Write, Written


class DocumentCreation:
    """Makes new documents by ``templates`` and ``sender``, and looks by ``search`` for those without an answer."""

    def __init__(
        self,
        flow: Flow,
        sender: WriteSender,
        search: MarkerSearch,
        templates: DocumentTemplates,
        trials: TemplateTrials,
    ) -> None:
        self._flow = flow
        self._sender = sender
        self._search = search
        self._templates = templates
        self._trials = trials

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving) -> list[Written]:
        """Create the documents of ``writes``: see ``Target.create``."""
        failed = {write.bms_id: refused(write, why) for write in writes if (why := _why_not_new(write))}
        wanted = [write for write in writes if write.bms_id not in failed]
        by_template: dict[str, list[Write]] = {}
        for write in wanted:
            by_template.setdefault(write.template_id, []).append(write)
        for template_id, of_template in by_template.items():
            failed |= self._create_by(self._templates.for_new(entity, template_id), entity, of_template, leaving)
        return [failed.get(write.bms_id, Written(write.bms_id, Outcome.DONE)) for write in writes]

    def _create_by(
        self, template: Template | None, entity: Entity, writes: Sequence[Write], leaving: Leaving
    ) -> dict[int, Written]:
        """Create documents of this template; return BMS id → outcome for all that are not there as they should be."""
        if template is None:
            return all_refused(writes, self._templates.why_unknown(entity))
        if why := self._trials.why_not_trusted(template):
            return all_refused(writes, why)
        failed: dict[int, Written] = {}
        left = list(writes)
        while left and not self._trials.is_proven(template):
            new, unfit = self._templates.fill(entity, template, left[:1])
            tried = unfit or self._post(entity, [new], leaving)
            failed |= tried
            first, left = left[0], left[1:]
            if any(written.outcome is Outcome.UNKNOWN for written in tried.values()):
                why = "not sent: the answer to the first new document of its template was lost"
                return failed | all_not_sent(left, why)
            if not tried:
                at_once = len(writes) < pace.FEW or len(left) >= pace.MANY
                why = self._trials.read_back(entity, template, new[0], at_once=at_once)
                failed |= {first.bms_id: refused(first, why)} if why else {}
                if not self._trials.is_proven(template):
                    return failed | self._not_proven(template, why, left)
        new, unfit = self._templates.fill(entity, template, left)
        return failed | unfit | self._post(entity, list(portions_of(new, pace.NEW_IN_ONE_CALL)), leaving)

    def _not_proven(self, template: Template, why: str, left: Sequence[Write]) -> dict[int, Written]:
        """Return the outcomes of the others when the first new document is not listed, or did not keep its values."""
        if why:
            return all_refused(left, self._trials.why_not_trusted(template) or why)
        return all_not_sent(
            left, "not sent: Passportal accepted the first new document of its template and does not list it"
        )

    def _post(self, entity: Entity, batches: Sequence[Sequence[NewDocument]], leaving: Leaving) -> dict[int, Written]:
        """Create documents; return BMS id → outcome for all that are not there.

        After a lost answer, a document not found is unknown: it may still come. Nothing more is sent before this check.
        Of a refused batch, existing documents are left alone. The others are sent one by one, so only the wrong ones
        are refused.
        """
        failed: dict[int, Written] = {}
        left = [_Batch(new) for new in batches if new]
        while left:
            self._flow.run(steps_unless(partial(_any_is_lost, left), partial(self._post_one, leaving), left))
            lost = _writes(batch for batch in left if batch.lost)
            missing = self._missing_of(entity, lost, settle=True)
            why = next((batch.lost.message for batch in left if batch.lost), "")
            failed |= {write.bms_id: Written(write.bms_id, Outcome.UNKNOWN, why) for write in missing}
            failed |= self._post_alone(entity, [batch for batch in left if batch.refusal], leaving)
            self._learn(left)
            left = [batch for batch in left if not batch.is_sent]
            if lost and len(missing) == len(lost):
                return failed | all_not_sent(_writes(left))
        return failed

    def _learn(self, batches: Sequence[_Batch]) -> None:
        """Learn from the answers what the template needs, and what it can do without."""
        for batch in batches:
            if batch.of_values and len(batch.new) == 1:
                self._templates.learn(batch.new[0], batch.words)
        self._templates.forget([new for batch in batches if batch.is_taken for new in batch.new])

    def _post_one(self, leaving: Leaving, batch: _Batch) -> Sequence[Later]:
        """Send one batch and note its answer."""
        self._sender.mark(leaving, [new.write for new in batch.new])
        batch.is_sent = True
        try:
            self._sender.create([new.document for new in batch.new])
        except LoginRefused:
            raise
        except RequestRefused as refusal:
            batch.refusal, batch.words = refusal.message, refusal.reason
            batch.of_values = not isinstance(refusal, AccessRefused)
        except LOST as error:
            batch.lost = error
        return ()

    def _post_alone(self, entity: Entity, unsuccessful: Sequence[_Batch], leaving: Leaving) -> dict[int, Written]:
        """Send the documents of refused batches one by one, except existing ones."""
        single = [batch for batch in unsuccessful if len(batch.new) == 1]
        failed = {
            write.bms_id: refused(write, batch.refusal, of_values=batch.of_values)
            for batch, write in zip(single, _writes(single), strict=True)
        }
        several = [new for batch in unsuccessful if len(batch.new) > 1 for new in batch.new]
        missing = self._missing_of(entity, [new.write for new in several], settle=False)
        return failed | self._post(entity, [[new] for new in several if new.write in missing], leaving)

    def _missing_of(self, entity: Entity, writes: Sequence[Write], *, settle: bool) -> list[Write]:
        """Return the writes whose document is not there; with ``settle`` after looking several times."""
        look = self._search.look_repeatedly if settle else self._search.look_once
        there = look(entity, writes, at_once=len(writes) < pace.FEW) if writes else {}
        return [write for write in writes if write.bms_id not in there]


@dataclass
class _Batch:
    """New documents for one call, and its answer: success, a refusal (``of_values``: for what was sent), or lost.

    ``words``: why it was refused, in the service's own words.
    """

    new: Sequence[NewDocument]
    is_sent: bool = False
    refusal: str = ""
    words: str = ""
    of_values: bool = False
    lost: ServiceError | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the service took the documents."""
        return self.is_sent and not self.refusal and self.lost is None


def _writes(batches: Iterable[_Batch]) -> list[Write]:
    return [new.write for batch in batches for new in batch.new]


def _any_is_lost(batches: Iterable[_Batch]) -> bool:
    return any(batch.lost for batch in batches)


def _why_not_new(write: Write) -> str:
    if not write.values.get("name"):
        return "a record needs a title"
    return "" if write.client_id else f"Passportal has no client {write.client_id}"
