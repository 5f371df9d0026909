-- Which operations on {entity} are due? A new client's id is known by now.
-- What has an intent without outcome is left alone, and so is all inside a client that has one. What is to come into a
-- client waits until that client is linked; is_refused where the plan will not link it any more.
WITH begun AS (
         SELECT bms_id FROM sync.journal
         WHERE entity = '{entity}' AND (outcome IS NULL OR plan_id = $plan_id AND outcome <> 'not_sent')
     ),
     client AS (
         SELECT bms_id AS account_id, m.passportal_id AS linked_to,
                coalesce(c.operation, 'skip') <> 'skip' AND bms_id NOT IN (
                    SELECT j.bms_id FROM sync.journal j
                    WHERE j.entity = 'clients' AND j.plan_id = $plan_id AND j.outcome <> 'not_sent'
                ) AS is_pending,
                bms_id IN (
                    SELECT j.bms_id FROM sync.journal j WHERE j.entity = 'clients' AND j.outcome IS NULL
                ) AS is_unknown
         FROM sync.planned_clients c
         FULL JOIN (SELECT bms_id, passportal_id FROM sync.matches WHERE entity = 'clients') m USING (bms_id)
     ),
     waiting AS (
         SELECT o.bms_id, o.account_id, o.operation, coalesce(o.client_id, c.linked_to) AS client_id,
                {has_client} AND o.operation IN ('create', 'adopt')
                    AND (c.linked_to IS NULL OR o.client_id <> c.linked_to) AS is_outside,
                coalesce(c.is_pending, false) AS client_is_pending
         FROM sync.planned_{entity} o
         LEFT JOIN client c ON {has_client} AND c.account_id = o.account_id
         WHERE o.operation <> 'skip' AND ($approved OR NOT {waits})
           AND ({among})
           AND NOT coalesce(c.is_unknown, false)
           AND NOT EXISTS (FROM begun WHERE begun.bms_id = o.bms_id)
     )
SELECT bms_id, account_id, operation, client_id, coalesce(is_outside, false) AS is_refused
FROM waiting
WHERE NOT (coalesce(is_outside, false) AND client_is_pending)
