-- Which links does the current plan not write, by field and reason?
SELECT entity, field, reason, records
FROM (
    SELECT entity, link.field AS field, link.reason AS reason, count(*) AS records
    FROM (SELECT entity, unnest(unlinked) AS link FROM sync.operations WHERE unlinked IS NOT NULL)
    GROUP BY ALL
)
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), field, records DESC, reason
