-- Intents become durable in portions; which of them left with a call is in the portion's file until it is taken in.
-- marked_at: when the call of this operation was marked; NULL where it has none, or where nobody knows.
ALTER TABLE sync.journal ADD COLUMN portion BIGINT;
ALTER TABLE sync.journal ADD COLUMN marked_at TIMESTAMP;
