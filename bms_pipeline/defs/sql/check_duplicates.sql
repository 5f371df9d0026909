-- Which records of Passportal share a BMS id?
SELECT * FROM ({duplicates}) ORDER BY ALL
