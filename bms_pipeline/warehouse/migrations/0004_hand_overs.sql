-- Records that go out in a file for a person to import, because the target cannot create them; each once. record is what
-- the file says of it (JSON). written_at: the whole file was there; forgotten_at: a person wants it handed over again.
CREATE TABLE sync.hand_overs (
    entity VARCHAR, bms_id BIGINT, name VARCHAR, record VARCHAR, file VARCHAR, handed_over_at TIMESTAMP,
    written_at TIMESTAMP, forgotten_at TIMESTAMP, forgotten_by VARCHAR
);
