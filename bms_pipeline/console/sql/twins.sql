-- Which records share a name with a waiting record of {entity}, on both sides, and what lies inside each?
WITH waiting AS (
         SELECT DISTINCT b.name_key, r.client_id, r.account_id
         FROM sync.reconciled_{entity} r JOIN bms.{entity} b ON b.bms_id = r.bms_id
         WHERE r.reason IN ('several_in_bms', 'several_in_passportal') AND b.name_key IS NOT NULL
     ),
     groups AS (
         SELECT name_key, account, any_value(client_id) AS client_id
         FROM (SELECT name_key, client_id, CASE WHEN {has_client} THEN account_id END AS account FROM waiting)
         GROUP BY ALL
     ),
     shown AS (
         SELECT *, count(*) OVER () AS number_of_groups
         FROM groups
         ORDER BY name_key, account LIMIT {most} OFFSET {skipped}
     ),
     members AS (
         SELECT s.number_of_groups, s.name_key, s.account, 'bms' AS side, b.bms_id, NULL AS passportal_id, b.name,
                r.disposition, r.reason, r.passportal_id AS matched_to, {stamp} AS stamp, {bms_inside} AS inside,
                {bms_columns}
         FROM shown s
         JOIN bms.{entity} b ON b.name_key = s.name_key AND (NOT {has_client} OR b.account_id = s.account)
         JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
         WHERE r.disposition <> 'out_of_scope'
         UNION ALL
         SELECT s.number_of_groups, s.name_key, s.account, 'passportal', m.bms_id, p.passportal_id, p.name, NULL,
                NULL, NULL, NULL, {passportal_inside}, {passportal_columns}
         FROM shown s
         JOIN passportal.{entity} p ON p.name_key = s.name_key AND (NOT {has_client} OR p.client_id = s.client_id)
         LEFT JOIN sync.reconciled_{entity} m ON m.passportal_id = p.passportal_id AND m.disposition = 'matched'
     )
SELECT members.*, c.name AS client
FROM members
LEFT JOIN bms.clients c ON c.bms_id = members.account AND {has_client}
ORDER BY name_key, account, side, members.bms_id, passportal_id
