-- Whether Passportal itself refused the values of this write, and the state of its document (or of the template of new ones)
-- then: the same write is not sent again before one of them changes or a person asks for it.
ALTER TABLE sync.journal ADD COLUMN refuses_values BOOLEAN;
ALTER TABLE sync.journal ADD COLUMN document VARCHAR;
-- Defined again by schema.py: a write that is not sent again counts as failed.
DROP VIEW IF EXISTS sync.outcomes;
