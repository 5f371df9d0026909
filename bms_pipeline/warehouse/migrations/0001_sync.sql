-- What is decided, planned and done. No PRIMARY KEY or UNIQUE: DuckLake has none; statements and asset checks hold them.
CREATE SCHEMA IF NOT EXISTS bms;
CREATE SCHEMA IF NOT EXISTS passportal;
CREATE SCHEMA IF NOT EXISTS sync;

CREATE TABLE bms.account_types (id BIGINT, name VARCHAR, is_client BOOLEAN, is_vendor BOOLEAN, is_active BOOLEAN);

-- Toggles and scope, which people revisit. value is JSON.
CREATE TABLE sync.settings (name VARCHAR, value VARCHAR, changed_at TIMESTAMP);

-- Counts up whenever an input of a plan changes, so that a plan knows whether it is stale.
CREATE TABLE sync.inputs (name VARCHAR, version BIGINT, changed_at TIMESTAMP);

-- Every landed sweep. newest_modified_on is the server's own stamp: the next watermark.
CREATE TABLE sync.sweeps (
    list_call VARCHAR, sweep VARCHAR, mode VARCHAR, complete BOOLEAN, reason VARCHAR, records BIGINT,
    calls_made BIGINT, calls_necessary BIGINT, seconds DOUBLE, newest_modified_on VARCHAR, unknown_fields VARCHAR[],
    set_aside BIGINT, landed_at TIMESTAMP
);

-- Lasting links; one-to-one in both directions within an entity.
CREATE TABLE sync.matches (
    entity VARCHAR, bms_id BIGINT, passportal_id VARCHAR, reason VARCHAR, matched_at TIMESTAMP
);

-- Lasting decisions not to sync a record; taken back by deleting the row, remembered by the decisions ledger.
CREATE TABLE sync.exclusions (entity VARCHAR, bms_id BIGINT, reason VARCHAR, decided_by VARCHAR, decided_at TIMESTAMP);

CREATE TABLE sync.plans (
    plan_id BIGINT, hash VARCHAR, made_at TIMESTAMP, scope VARCHAR, inputs VARCHAR, operations BIGINT,
    approved_at TIMESTAMP, loaded_at TIMESTAMP
);

-- Intent before each call to the target, outcome after it: done, refused, or NULL while unknown.
CREATE TABLE sync.journal (
    plan_id BIGINT, entity VARCHAR, bms_id BIGINT, operation VARCHAR, reason VARCHAR, client_id VARCHAR,
    passportal_id VARCHAR, changes STRUCT(field VARCHAR, "before" VARCHAR, "after" VARCHAR)[],
    intent_at TIMESTAMP, outcome VARCHAR, outcome_at TIMESTAMP, detail VARCHAR
);

-- The counts of every plan, for status and for plots over time.
CREATE TABLE sync.results (
    plan_id BIGINT, entity VARCHAR, counted_at TIMESTAMP, read BIGINT, created BIGINT, adopted BIGINT, updated BIGINT,
    unchanged BIGINT, excluded BIGINT, unmatched BIGINT, ambiguous BIGINT, out_of_scope BIGINT, blocked BIGINT,
    failed BIGINT, pending BIGINT
);
