CREATE TABLE shop (name text PRIMARY KEY);
INSERT INTO shop VALUES ('first shop');
