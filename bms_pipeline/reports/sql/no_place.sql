-- Which values of BMS does the current plan not write, because a template in Passportal has no field for them?
-- A new record whose template is not known yet lacks the template, and no field of it.
SELECT entity, template, template_id, field, records
FROM (
    SELECT entity, template, template_id, value.field AS field, count(*) AS records
    FROM (
        SELECT entity, template, template_id, unnest(no_place) AS value
        FROM sync.operations
        WHERE no_place IS NOT NULL AND template IS NOT NULL
    )
    GROUP BY ALL
)
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), template, records DESC, field
