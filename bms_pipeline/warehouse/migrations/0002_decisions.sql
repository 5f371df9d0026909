-- A person's word that a record be created although the rules would wait; fulfilled by the load that creates it.
-- beside: also next to a record of Passportal with the same or nearly the same name.
CREATE TABLE sync.creations (entity VARCHAR, bms_id BIGINT, beside BOOLEAN, decided_by VARCHAR, decided_at TIMESTAMP);

-- Pairs that a person took apart: no rule ever matches them again, only a person.
CREATE TABLE sync.partings (
    entity VARCHAR, bms_id BIGINT, passportal_id VARCHAR, decided_by VARCHAR, decided_at TIMESTAMP
);

-- The ledger: every decision ever taken, from what to what. Nothing reads it back; it is for people.
CREATE TABLE sync.decisions (
    batch BIGINT, decided_at TIMESTAMP, decided_by VARCHAR, verb VARCHAR, entity VARCHAR, bms_id BIGINT,
    passportal_id VARCHAR, was VARCHAR, became VARCHAR, why VARCHAR
);

-- What the settings were before. before and after are JSON; before is NULL where the default held.
CREATE TABLE sync.settings_history (
    changed_at TIMESTAMP, changed_by VARCHAR, name VARCHAR, before VARCHAR, after VARCHAR, why VARCHAR
);

-- The plan that this one takes back.
ALTER TABLE sync.plans ADD COLUMN undoes BIGINT;
ALTER TABLE sync.plans ADD COLUMN approved_by VARCHAR;

-- The record of Passportal that loses the marker, see schema.planned_columns.
ALTER TABLE sync.journal ADD COLUMN releases VARCHAR;
