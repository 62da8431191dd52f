-- One order of two products, as one transaction: a script for pgbench.
\set customer random(1, 100)
\set first random(1, 10)
\set second random(11, 20)
\set quantity random(1, 3)
BEGIN;
INSERT INTO orders (customer_id) VALUES (:customer) RETURNING id AS order_id \gset
INSERT INTO order_items SELECT :order_id, id, :quantity, price FROM products WHERE id IN (:first, :second);
UPDATE products SET stock = stock - :quantity WHERE id = :first;
UPDATE products SET stock = stock - :quantity WHERE id = :second;
COMMIT;
