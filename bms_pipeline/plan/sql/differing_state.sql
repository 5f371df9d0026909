-- As of which state of what both sides of {entity} hold would its fields be compared now?
-- linked: the entities to which its fields link by the mapping, and their clients.
SELECT concat_ws(
    ' ',
    (SELECT string_agg(concat(name, '=', version), ' ' ORDER BY name) FROM sync.input_versions
     WHERE name IN ('bms.{entity}', 'passportal.{entity}', 'settings', 'mapping')
        OR list_contains({linked}, replace(name, 'passportal.', ''))),
    (SELECT concat_ws(' ', count(outcome), max(outcome_at)) FROM sync.journal WHERE entity = '{entity}'),
    (SELECT concat_ws(' ', count(*), max(matched_at)) FROM sync.matches
     WHERE entity = '{entity}' OR list_contains({linked}, entity)),
    (SELECT max(loaded_at) FROM sync.plans)
)
