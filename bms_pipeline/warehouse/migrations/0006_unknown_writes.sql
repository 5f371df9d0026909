-- The last moment at which the call of an intent without outcome may have left this machine.
ALTER TABLE sync.journal ADD COLUMN left_at TIMESTAMP;
-- Defined again by schema.py: an operation that was not sent is pending once more.
DROP VIEW IF EXISTS sync.outcomes;
