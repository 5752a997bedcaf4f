-- claim_batch in each way in which a query calls a function, and what it is called with.
--    1. In FROM, in a select list, several times, and below a LIMIT: it claims once for each call, all that it was asked for.
--    2. A cursor goes through its rows forwards and back, and holds them beyond its transaction.
--    3. Rows that do not fit into work_mem are all there, in order; so they are behind some that had expired.
--    4. Numbers, names and leases at the ends of what may be; what may not be is refused, and nothing is claimed.
--    5. A transaction that has fired, reported or queued retries does not claim what it has written itself, and loses none of it.
--    6. A claim that is undone is made again, with another id.
--    7. Not in a transaction that may not write; where nothing waits it need not.
--    8. A trigger for each row of claims is fired, and a column that somebody has added does no harm.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, lane, daily_limit, dedup_window) VALUES ('plain', 'normal', NULL, '0'), ('slow', 'low', NULL, '0');
CREATE FUNCTION pg_temp.fire(alert text, priority text DEFAULT 'plain', more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email"]'::jsonb, 'priority', priority) || more, 'u1', 'about ' || alert)
$$;

-- 1
SELECT count(pg_temp.fire('a' || n)) FROM generate_series(1, 20) n;
SELECT alert_id FROM claim_batch('w1', 3, '1 minute') LIMIT 1;
SELECT (claim_batch('w1', 3, '1 minute')).alert_id LIMIT 2;
SELECT alert_id, n FROM ROWS FROM (claim_batch('w1', 2, '1 minute'), generate_series(1, 3)) AS c (claim_id, message_id, delivery_key, alert_id, user_id, alert_name,
  message, priority, channels, recipients, alert_data, attempt, dlq_id, enqueued_at, traceparent, n);
SELECT alert_id, ordinality FROM claim_batch('w1', 2, '1 minute') WITH ORDINALITY;
SELECT worker, alert_id FROM unnest('{w1,w2}'::text[]) worker, LATERAL claim_batch(worker, 2, '1 minute');
SELECT (SELECT string_agg(alert_id, ' ') FROM claim_batch('w1', 1, '1 minute')) AS one, (SELECT string_agg(alert_id, ' ') FROM claim_batch('w1', 1, '1 minute')) AS two;
SELECT count(*) AS all_that_is_left FROM claim_batch('w1', 100, '1 minute');
SELECT claim_batch('w1', 3, '1 minute');
SELECT * FROM claim_batch('w1', 3, '1 minute');
SELECT messages, count(*) FROM claims GROUP BY 1 ORDER BY 1;

-- 2
SELECT count(pg_temp.fire('b' || n)) FROM generate_series(1, 4) n;
BEGIN;
DECLARE back SCROLL CURSOR FOR SELECT alert_id FROM claim_batch('w1', 2, '1 minute');
FETCH ALL FROM back;
FETCH BACKWARD ALL FROM back;
FETCH ABSOLUTE 2 FROM back;
DECLARE held CURSOR WITH HOLD FOR SELECT alert_id, recipients, alert_data FROM claim_batch('w1', 2, '1 minute');
COMMIT;
FETCH ALL FROM held;
CLOSE held;

-- 3
SET work_mem = '64kB';
SELECT count(pg_temp.fire('c' || n, 'plain', jsonb_build_object('note', repeat(md5(n::text), 200)) || CASE WHEN n <= 50 THEN jsonb_build_object('expires_at', clock_timestamp() + interval '1 hour') ELSE '{}' END))
FROM generate_series(1, 200) n;
SELECT count(pg_temp.fire('late' || n, 'slow')) FROM generate_series(1, 2) n;
UPDATE outbox SET expires_at = clock_timestamp() WHERE alert_id IN ('c48', 'c50');
SELECT count(*), count(DISTINCT message_id), min(claim_id) = max(claim_id) AS of_one_claim, bool_and(alert_data ->> 'note' = repeat(md5(substr(alert_id, 2)), 200)) AS whole,
       array_agg(message_id) = array_agg(message_id ORDER BY message_id) AS in_order, string_agg(alert_id, ' ') FILTER (WHERE alert_id IN ('c48', 'c49', 'c50')) AS of_those
FROM claim_batch('w1', 200, '1 minute');
SELECT alert_id, state FROM alert_dlq WHERE alert_id LIKE 'c%' ORDER BY 1;
UPDATE outbox SET expires_at = clock_timestamp() WHERE alert_id = 'late1';
SELECT alert_id FROM claim_batch('w1', 1, '1 minute');
RESET work_mem;

-- 4
SELECT count(pg_temp.fire('d' || n)) FROM generate_series(1, 8) n;
SELECT n, alert_id FROM (VALUES (1, repeat('ü', 255), 1, interval '1 ms'), (2, 'w', 1, '24 hours'), (3, 'w', 1, '1 day'), (4, 'w', 1, '2 days -24 hours'), (5, '!', 1, '1 month -29 days')) AS v (n, worker, most, lease),
  LATERAL claim_batch(worker, most, lease);
SELECT worker = repeat('ü', 255) AS whole, lease_until - claimed_at AS lease FROM claims WHERE claim_id > (SELECT max(claim_id) - 5 FROM claims) ORDER BY claim_id;
SELECT n, pg_temp.error_of(format('SELECT pgalert.claim_batch(%L, %L, %L)', worker, most, lease))
FROM (VALUES (1, repeat('ü', 256), '1', '1 minute'), (2, 'w' || chr(127), '1', '1 minute'), (3, 'w' || chr(9), '1', '1 minute'), (4, 'w', '0', '1 minute'), (5, 'w', '10001', '1 minute'),
  (6, 'w', '-1', '1 minute'), (7, 'w', '1', '999 microseconds'), (8, 'w', '1', '24 hours 1 microsecond'), (9, 'w', '1', '1 month'), (10, 'w', '1', '1 month -31 days'), (11, 'w', '1', '178000000 years'),
  (12, 'w', '1', NULL), (13, 'w', NULL, '1 minute'), (14, NULL, '1', '1 minute')) AS v (n, worker, most, lease) \g (format=unaligned tuples_only=on)
SELECT string_agg(alert_id, ' ') AS the_rest FROM claim_batch('w', 10000, '1 day');

-- 5
BEGIN;
SELECT pg_temp.fire('e1');
SELECT pg_temp.claim();
SELECT pg_temp.fire('e2', 'slow');
SELECT pg_temp.claim();
COMMIT;
SELECT pg_temp.claim(), pg_temp.claim();
BEGIN;
SELECT pg_temp.answer('e1', '{"email": "failed"}');
SELECT pg_temp.make_due('e1'), schedule_retries();
SELECT pg_temp.claim();
COMMIT;
SELECT pg_temp.claim();
SELECT attempt FROM claimed WHERE alert_id = 'e1' ORDER BY n;

-- 6
SELECT pg_temp.fire('f1');
BEGIN;
SELECT claim_id AS undone, alert_id FROM claim_batch('w1', 1, '1 minute') \gset
ROLLBACK;
SELECT claim_id > :undone AS another, alert_id FROM claim_batch('w1', 1, '1 minute');

-- 7
SELECT setval('leases_searched_at', _now_ms()) > 0 AS searched;
BEGIN READ ONLY;
SELECT count(*) FROM claim_batch('w1', 1, '1 minute');
COMMIT;
SELECT pg_temp.fire('g1'), setval('leases_searched_at', _now_ms()) > 0 AS searched;
BEGIN READ ONLY;
SELECT pg_temp.error_of('SELECT pgalert.claim_batch(''w1'', 1, ''1 minute'')');
COMMIT;
SELECT pg_temp.claim();

-- 8
CREATE TABLE written (claim_id bigint, worker text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO written VALUES (NEW.claim_id, NEW.worker); RETURN NEW; END $$;
ALTER TABLE written OWNER TO pgalert_owner;
CREATE TRIGGER note AFTER INSERT ON claims FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE claims ADD COLUMN added text;
SELECT count(pg_temp.fire('h' || n)) FROM generate_series(1, 3) n;
SELECT pg_temp.claim(2), pg_temp.claim();
SELECT w.worker, w.claim_id = c.claim_id AS of_the_claim FROM written w FULL JOIN (SELECT DISTINCT claim_id FROM claimed WHERE alert_id LIKE 'h_') c USING (claim_id);
