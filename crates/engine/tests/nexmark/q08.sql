-- Monitor new users: who opens an auction in the 10 seconds in which they came.
SELECT p.id, p.name, p.start
FROM (SELECT id, name, date_bin(interval '10 seconds', date_time) AS start FROM person GROUP BY 1, 2, 3) AS p
JOIN (SELECT seller, date_bin(interval '10 seconds', date_time) AS start FROM auction GROUP BY 1, 2) AS a
  ON p.id = a.seller AND p.start = a.start
