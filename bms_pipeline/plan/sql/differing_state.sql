-- As of which state of what both sides of {entity} hold would its fields be compared now?
SELECT concat_ws(
    ' ',
    (SELECT string_agg(concat(name, '=', version), ' ' ORDER BY name) FROM sync.input_versions
     WHERE name IN ('bms.{entity}', 'passportal.{entity}', 'settings', 'mapping')),
    (SELECT concat_ws(' ', count(outcome), max(outcome_at)) FROM sync.journal WHERE entity = '{entity}'),
    (SELECT concat_ws(' ', count(*), max(matched_at)) FROM sync.matches WHERE entity = '{entity}'),
    (SELECT max(loaded_at) FROM sync.plans)
)
