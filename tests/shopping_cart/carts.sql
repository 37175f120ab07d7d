-- The shop's carts, as its page shows them. Made by the projection `shop.carts`.
CREATE TABLE cart (
    cart_id uuid PRIMARY KEY,
    status text NOT NULL,
    total bigint NOT NULL,
    version bigint NOT NULL
);
