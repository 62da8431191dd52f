-- Hot items: windows of 10 seconds, one every 2 seconds.
WITH counted AS (
  SELECT auction, date_bin(interval '2 seconds', date_time) - hop.back AS start, count(*) AS num
  FROM bid CROSS JOIN (VALUES (interval '0 seconds'), (interval '2 seconds'), (interval '4 seconds'),
                              (interval '6 seconds'), (interval '8 seconds')) AS hop (back)
  GROUP BY 1, 2)
SELECT counted.auction, counted.num, counted.start
FROM counted JOIN (SELECT start, max(num) AS maxn FROM counted GROUP BY start) AS most
  ON counted.start = most.start AND counted.num >= most.maxn
