-- Matched records of Passportal that a snapshot no longer showed, since when, and the client that they lay in. One that is
-- listed again is taken out.
CREATE TABLE sync.vanished (
    entity VARCHAR, bms_id BIGINT, passportal_id VARCHAR, client_id VARCHAR, vanished_at TIMESTAMP
);
