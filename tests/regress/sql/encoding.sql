-- Encodings of a database.
--   1. One that is not UTF8 is refused when the extension is created.
--   2. SQL_ASCII, which lets everything through, is taken; what is not UTF-8 in a JSON or an address is an error there: a claim hands both out.
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

\connect :database
DROP DATABASE regress_latin1;
DROP DATABASE regress_sql_ascii;
