-- For want of which labels does the current plan not create how many records, in which template?
SELECT entity, template, template_id, label, records
FROM (
    SELECT entity, template, template_id, label, count(*) AS records
    FROM (SELECT entity, template, template_id, unnest(needs) AS label FROM sync.operations WHERE needs IS NOT NULL)
    GROUP BY ALL
)
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), template, records DESC, label
