-- Encodings of a database.
--   1. One that is not UTF8 is refused when the extension is created.
--   2. SQL_ASCII, which lets everything through, is taken; what is not UTF-8 is an error there: a claim could not hand it out.
SET client_min_messages = warning;
SELECT current_database() AS database \gset
CREATE DATABASE regress_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
CREATE DATABASE regress_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';

-- 1
\connect regress_latin1
\set VERBOSITY terse
CREATE EXTENSION pgalert;
SELECT :'LAST_ERROR_SQLSTATE' AS sqlstate, :'LAST_ERROR_MESSAGE' AS message, to_regnamespace('pgalert') AS schema;

-- 2
\set VERBOSITY default
\connect regress_sql_ascii
CREATE EXTENSION pgalert;
SELECT pgalert.compute_content_hash('{"é": "日"}') = md5('{"\u00e9": "\u65e5"}') AS same;
SELECT pgalert.deliver_alert('{"id": "naïve", "channels": ["email"]}', 'ué', 'Öl über 100');
SELECT pgalert.add_recipient('ué', 'email', convert_from('\x62ff', 'SQL_ASCII'));
SELECT pgalert.add_recipient('ué', 'email', 'é@x') > 0 AS added;
SELECT alert_id, user_id, message, recipients -> 'email' -> 0 ->> 'address' AS address, alert_data FROM pgalert.claim_batch('w', 10, '1 minute');
SELECT pgalert.compute_content_hash(convert_from('\x22ff22', 'SQL_ASCII')::jsonb);
\set VERBOSITY sqlstate
SELECT convert_from('\x62ff', 'SQL_ASCII') AS bad \gset
SELECT pgalert.deliver_alert('{"id": "a", "channels": ["email"]}', 'u1', :'bad');
SELECT pgalert.deliver_alert('{"id": "a", "channels": ["email"]}', :'bad', 'm');
SELECT pgalert.deliver_alert('{"id": "a", "channels": ["email"]}', 'u1', 'm', NULL, :'bad');
SELECT pgalert.compute_content_hash('{}', :'bad', 'u1');
SELECT pgalert.track_delivery(:'bad', '{"message": "m", "user_id": "u1"}', '["email"]');
SELECT pgalert.push_to_dlq(:'bad', '{"message": "m", "user_id": "u1", "channels": ["email"]}', 'e');
SELECT pgalert.check_duplicate_delivery(:'bad');
SELECT pgalert.inbox_channel(:'bad');
SELECT pgalert.add_recipient(:'bad', 'email', 'b@x');
SELECT pgalert.claim_batch(:'bad', 10, '1 minute');
\set VERBOSITY default

\connect :database
DROP DATABASE regress_latin1;
DROP DATABASE regress_sql_ascii;
