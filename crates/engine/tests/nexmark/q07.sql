-- Highest bid of every 10 seconds.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid b JOIN (
  SELECT max(price) AS maxprice, date_bin(interval '10 seconds', date_time) AS start
  FROM bid GROUP BY 2) AS top
  ON b.price = top.maxprice AND b.date_time >= top.start AND b.date_time < top.start + interval '10 seconds'
