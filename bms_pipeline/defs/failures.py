"""The one place where an error of the pipeline becomes a failure that Dagster shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dagster as dg

from bms_pipeline.errors import PipelineError


@contextlib.contextmanager
def told_to_the_operator() -> Iterator[None]:
    """Turn a ``PipelineError`` into a ``Failure`` that says what happened and what to do, without our internals.

    It is not retried: what can be retried safely was, further down, and the rest is for a person.
    """
    try:
        yield
    except PipelineError as error:
        failure = dg.Failure(str(error), metadata={"next step": error.next_step or "none"}, allow_retries=False)
        raise failure from None
