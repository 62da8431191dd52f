-- shop.* is the source: tables of Postgres. promotion is the module's own table.

CREATE MATERIALIZED VIEW offer AS
SELECT p.id AS product_id, p.name, p.price, CAST(coalesce(m.percent, 0) AS integer) AS percent,
       CAST(p.price * (100 - coalesce(m.percent, 0)) / 100 AS numeric(10, 2)) AS offer_price, p.stock
FROM shop.products AS p
LEFT JOIN promotion AS m ON m.product_id = p.id;

CREATE MATERIALIZED VIEW promotion_sales AS
SELECT m.product_id, c.city, count(*) AS orders, sum(i.quantity) AS units
FROM promotion AS m
JOIN shop.order_items AS i ON i.product_id = m.product_id
JOIN shop.orders AS o ON o.id = i.order_id
JOIN shop.customers AS c ON c.id = o.customer_id
GROUP BY m.product_id, c.city;

CREATE MATERIALIZED VIEW customer_total AS
SELECT c.id AS customer_id, c.name, count(DISTINCT o.id) AS orders, sum(i.quantity * i.price) AS spent
FROM shop.customers AS c
JOIN shop.orders AS o ON o.customer_id = c.id
JOIN shop.order_items AS i ON i.order_id = o.id
GROUP BY c.id, c.name;
