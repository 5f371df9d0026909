-- A person may discard a plan: who did, and when.
ALTER TABLE sync.plans ADD COLUMN discarded_at TIMESTAMP;
ALTER TABLE sync.plans ADD COLUMN discarded_by VARCHAR;
