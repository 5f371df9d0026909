-- How many records of each entity have which standing?
SELECT entity, standing, count(*) AS records FROM ({standings}) GROUP BY ALL
