-- Which declared keys BMS ever sent, so that one that is missing everywhere can be told from one that never came.
CREATE TABLE sync.keys_sent (entity VARCHAR, key VARCHAR, first_sent_at TIMESTAMP);

-- Declared keys that no record of the sweep had: they changed nothing.
ALTER TABLE sync.sweeps ADD COLUMN not_sent VARCHAR[];
