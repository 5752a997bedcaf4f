\set ECHO none
-- Many a database publishes all of its tables: that forbids to change or delete a row of a table without an identity.
SET client_min_messages = error;
CREATE PUBLICATION all_of_it FOR ALL TABLES;
RESET client_min_messages;
\set ECHO all
