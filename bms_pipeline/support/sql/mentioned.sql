-- Which names of {entity} are in one of these texts?
SELECT DISTINCT name
FROM (SELECT name FROM bms.{entity} UNION ALL SELECT name FROM passportal.{entity}) n
WHERE length(name) > 2 AND EXISTS (
    FROM (SELECT unnest($texts::VARCHAR[]) AS text) t WHERE contains(lower(t.text), lower(n.name))
)
