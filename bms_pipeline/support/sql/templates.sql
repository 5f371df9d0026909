-- Which templates do the documents have, how many have each, and which labels were seen in them?
SELECT l.type, l.template, l.documents, list(f.label ORDER BY f.label) AS labels
FROM (
    SELECT type, template_id, any_value(template) AS template, count(*) AS documents
    FROM listed
    WHERE template_id <> ''
    GROUP BY ALL
) l
LEFT JOIN template_fields f USING (template_id)
GROUP BY ALL
ORDER BY ALL
