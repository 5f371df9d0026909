-- In which state is each input of landings, and what was each result made from?
-- Writes of loads are hashed and not only counted, so that no writer of them is overlooked.
SELECT 'input' AS kind, name, version::VARCHAR AS state, NULL AS result FROM sync.input_versions
UNION ALL SELECT 'input', 'journal.' || entity, concat_ws(' ', count(*), count(outcome), max(outcome_at)), NULL
          FROM sync.journal GROUP BY entity
UNION ALL SELECT 'made from', name, inputs, result FROM sync.made_from
