-- After an asynchronous failover the new primary has not seen the last transactions, and its sequences issue the same ids
-- again. Outcomes name a message by its delivery_key.
--   1. A report of messages that the new primary never saw records nothing, though claim and ids are another's by now.
--   2. Messages of one id, in claims of their own, end each by its own key.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('plain', NULL, '0');
CREATE FUNCTION pg_temp.fire(alert text) RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email"]'::jsonb, 'priority', 'plain'), 'u1', 'about ' || alert)
$$;
SELECT pg_temp.fire('a');
SELECT pg_temp.claim();
SELECT pg_temp.answer('a', '{"email": "delivered"}');

-- 1: what was committed after the failover's point is gone.
SELECT m.last_value AS message_id, c.last_value AS claim_id FROM message_id m, claim_id c \gset
SELECT pg_temp.fire('lost');
SELECT pg_temp.claim();
DELETE FROM outbox WHERE alert_id = 'lost';
DELETE FROM claims WHERE claim_id = :claim_id + 1;
SELECT setval('message_id', :message_id) > 0 AS again, setval('claim_id', :claim_id) > 0 AS again;
SELECT pg_temp.fire('new');
SELECT pg_temp.claim();
SELECT count(DISTINCT claim_id) AS claim_ids, count(DISTINCT delivery_key) AS keys FROM claimed WHERE alert_id IN ('lost', 'new');
SELECT pg_temp.error_of(format('SELECT pgalert.report(%s, ''w1'', %L)', claim_id, pg_temp.outcomes('lost', '{"email": "delivered"}'))) ~ '^22023: an outcome is not of this claim' AS refused
FROM claimed WHERE alert_id = 'lost';
SELECT messages_left FROM open_claims();
SELECT count(*) FROM alert_deliveries WHERE alert_id IN ('lost', 'new');
SELECT pg_temp.answer('new', '{"email": "delivered"}');
SELECT alert_id FROM alert_deliveries WHERE alert_id IN ('lost', 'new');
SELECT count(*) AS open FROM open_claims();

-- 2
SELECT pg_temp.fire('first');
SELECT pg_temp.claim();
SELECT setval('message_id', last_value - 1) > 0 AS again FROM message_id;
SELECT pg_temp.fire('second');
SELECT pg_temp.claim(1000, 'w2');
SELECT count(DISTINCT message_id) AS message_ids, count(DISTINCT delivery_key) AS keys FROM outbox WHERE alert_id IN ('first', 'second');
SELECT pg_temp.answer('second', '{"email": "failed"}'), pg_temp.answer('first', '{"email": "delivered"}');
SELECT alert_id, delivery_key = (SELECT delivery_key FROM outbox o WHERE o.alert_id = d.alert_id) AS its_own FROM alert_deliveries d WHERE alert_id IN ('first', 'second');
SELECT alert_id, delivery_key = (SELECT delivery_key FROM outbox o WHERE o.alert_id = d.alert_id) AS its_own FROM alert_dlq d;
SELECT count(*) AS open FROM open_claims();
