-- An ordinary shop. Nothing in here knows of viewfeed.

CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    city text NOT NULL
);

CREATE TABLE products (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    price numeric(10, 2) NOT NULL,
    stock integer NOT NULL
);

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders,
    product_id bigint NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, product_id)
);

INSERT INTO customers
SELECT i, 'customer ' || i, (ARRAY['Ghent', 'Lyon', 'Porto', 'Turin'])[1 + i % 4]
FROM generate_series(1, 100) AS i;

INSERT INTO products
SELECT i, (ARRAY['lamp', 'chair', 'kettle', 'clock', 'radio'])[1 + i % 5] || ' ' || i, 5 + i * 1.25, 100000
FROM generate_series(1, 20) AS i;
