-- Which habits do the services have, as far as they were seen? Of each name the newest value.
SELECT name, value, how, seen_at FROM sync.facts QUALIFY row_number() OVER (PARTITION BY name ORDER BY seen_at DESC) = 1
