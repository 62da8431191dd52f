-- The ten highest bids of every auction.
SELECT *
FROM (
  SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, channel, url, extra) AS place
  FROM bid) AS ranked
WHERE place <= 10
