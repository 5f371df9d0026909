-- How many records of each entity had which standing when a run ended, for plots over time; only where that changed.
CREATE TABLE sync.standing_counts (entity VARCHAR, counted_at TIMESTAMP, counts MAP(VARCHAR, BIGINT));

-- Which records differ, as of which state of both sides: comparing all fields is most of the work of a count. Where the
-- state is another one by now, the next count compares them itself.
CREATE TABLE sync.differing (entity VARCHAR, bms_id BIGINT);
CREATE TABLE sync.differing_as_of (entity VARCHAR, state VARCHAR);

-- What whole plans counted so far says the same, but for what a later undo took apart.
INSERT INTO sync.standing_counts
SELECT r.entity, r.counted_at,
       MAP {'in sync': r.created + r.adopted + r.updated + r.unchanged, 'unmatched': r.unmatched, 'ambiguous': r.ambiguous,
            'excluded': r.excluded, 'out of scope': r.out_of_scope, 'blocked': r.blocked, 'refused': r.failed}
FROM sync.results r
JOIN sync.plans p ON p.plan_id = r.plan_id
WHERE p.undoes IS NULL AND (p.scope ->> '$.clients') IS NULL AND p.loaded_at IS NOT NULL;
