-- Which records of Passportal share a BMS id?
FROM ({duplicates}) ORDER BY ALL
