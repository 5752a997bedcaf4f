-- Claim and report: who gets which message, and what a worker may say of it.
--    1. Messages are claimed in the order in which they were written; a claim goes on where the last one ended.
--    2. The high lane comes first; each eighth claim asks the lowest lane first.
--    3. A claim holds at most max_messages, and ends with the message that fills 8 MB, by itself or by its addresses.
--    4. What is rolled back is never claimed; what is committed later than its neighbours is claimed all the same.
--    5. A transaction that enqueues and then claims does not lose its own rows.
--    6. An empty claim writes nothing: no row, no transaction id, no WAL.
--    7. report may come in parts, again, and channel by channel; it counts the messages that it finishes.
--    8. An unknown message or channel, or another worker's claim, records nothing at all.
--    9. Of several recipients only those that failed are tried again; no address is a failure that says so.
--   10. claim_batch and its kin need READ COMMITTED.
--   11. A cursor that has seen the future is an error, not an empty queue.
--   12. A copy claims nothing, says why, and goes on after confirm_cluster().
--   13. Indexes that somebody else has made of the same columns are not read in the place of its own.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, lane, daily_limit, dedup_window) VALUES ('fast', 'high', NULL, '0'), ('plain', 'normal', NULL, '0'), ('slow', 'low', NULL, '0');
CREATE FUNCTION pg_temp.fire(alert text, priority text DEFAULT 'plain', channels jsonb DEFAULT '["email"]') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', channels, 'priority', priority), 'u1', 'about ' || alert)
$$;
CREATE FUNCTION pg_temp.drain() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  WHILE pg_temp.claim() IS NOT NULL LOOP NULL; END LOOP;
  RETURN (SELECT count(DISTINCT delivery_key) FROM claimed);
END
$$;

-- 1
SELECT count(pg_temp.fire('a' || n)) FROM generate_series(1, 3) n;
SELECT pg_temp.fire('b1');
SELECT pg_temp.claim(2);
SELECT pg_temp.fire('c1');
SELECT pg_temp.claim(1, 'w2');
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT count(DISTINCT c.delivery_key) AS keys, bool_and(o.delivery_key = c.delivery_key) AS of_the_message
FROM claimed c JOIN outbox o USING (alert_id);
SELECT deliver_alert('{"id": "d1", "name": "VIX", "channels": ["email", "slack"]}', 'u1', 'at 40', NULL,
                     '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT claim_id > 0 AS numbered, message_id > 0 AS message_numbered, alert_id, user_id, alert_name, message, priority, channels, recipients, alert_data, attempt,
       dlq_id, enqueued_at <= clock_timestamp() AS enqueued, traceparent
FROM claim_batch('w1', 10, '1 minute');

-- 2
SELECT setval('claim_id', 1000);
SELECT count(pg_temp.fire('n' || n)), count(pg_temp.fire('l' || n, 'slow')), count(pg_temp.fire('h' || n, 'fast')) FROM generate_series(1, 10) n;
DO $$
BEGIN
  FOR turn IN 1 .. 31 LOOP PERFORM pg_temp.claim(1); END LOOP;
END
$$;
SELECT string_agg(alert_id, ' ' ORDER BY n) FROM claimed WHERE claim_id > 1000;
SELECT pg_temp.claim();

-- 3
SELECT count(deliver_alert(jsonb_build_object('id', 'big' || n, 'channels', '["email"]'::jsonb, 'priority', 'plain', 'note', repeat('x', 1000000)), 'u1', 'big')) FROM generate_series(1, 12) n;
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
INSERT INTO recipients (user_id, channel, address) SELECT 'many', 'sms', '+1555' || n FROM generate_series(1, 100) n;
SELECT is_called FROM many_addresses;
SELECT count(add_recipient('many', 'sms', '+1555' || n)) FROM generate_series(1, 5000) n;
SELECT is_called FROM many_addresses;
SELECT count(deliver_alert(jsonb_build_object('id', 'wide' || n, 'channels', '["sms"]'::jsonb, 'priority', 'plain'), 'many', 'wide')) FROM generate_series(1, 20) n;
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
DELETE FROM recipients WHERE user_id = 'many';

-- 4
BEGIN;
SELECT pg_temp.fire('undone');
ROLLBACK;
BEGIN;
SELECT pg_temp.fire('e1');
SAVEPOINT s;
SELECT pg_temp.fire('undone');
ROLLBACK TO s;
SELECT pg_temp.fire('e2');
COMMIT;
SELECT pg_temp.claim();

-- 5
BEGIN;
SELECT pg_temp.fire('own1');
SELECT pg_temp.claim() AS not_yet_visible;
SELECT pg_temp.fire('own2');
COMMIT;
SELECT pg_temp.claim();
BEGIN;
SELECT pg_temp.fire('own3');
SAVEPOINT s;
SELECT pg_temp.fire('own4');
SELECT pg_temp.claim() AS not_yet_visible;
RELEASE s;
COMMIT;
SELECT pg_temp.fire('own5');
SELECT pg_temp.claim();

-- 6
SELECT pg_temp.drain() > 0 AS drained;
SELECT count(*) AS claims_before FROM claims \gset
SELECT count(*) FROM claim_batch('w1', 100, '1 minute');
CHECKPOINT;
SELECT setval('leases_searched_at', 1);
BEGIN;
SELECT pg_current_wal_insert_lsn() AS lsn_before \gset
SELECT count(*) FROM claim_batch('w1', 100, '1 minute');
SELECT count(*) FROM claim_batch('w1', 100, '1 minute');
SELECT pg_current_wal_insert_lsn() = :'lsn_before' AS no_wal, pg_current_xact_id_if_assigned() AS transaction_id;
COMMIT;
SELECT count(*) - :claims_before AS claims_written FROM claims;

-- 7
SELECT count(pg_temp.fire('r' || n, 'plain', '["email", "slack"]')) FROM generate_series(1, 3) n;
SELECT pg_temp.claim();
SELECT pg_temp.answer('r1', '{"email": "delivered", "slack": "delivered"}') AS whole, pg_temp.answer('r1', '{"email": "delivered", "slack": "delivered"}') AS again;
SELECT pg_temp.answer('r2', '{"email": "delivered"}') AS one_channel, pg_temp.answer('r2', '{"email": "delivered"}') AS the_same_again;
SELECT a AS alert, r.* FROM unnest('{r1,r2,r3}'::text[]) a, pg_temp.reached(a) r;
SELECT messages_left FROM open_claims() WHERE claim_id = (SELECT max(claim_id) FROM claimed);
SELECT pg_temp.error_of(format('SELECT pgalert.report(%s, ''w1'', %L)', claim_id, outcomes)) AS unreadable FROM claimed, unnest('{"[null]","[{\"delivery_key\": \"none\"}]"}'::text[]) outcomes
WHERE alert_id = 'r2' \g (format=unaligned tuples_only=on)
SELECT pg_temp.answer('r2', '{"slack": "failed"}') AS the_other_channel;
SELECT pg_temp.answer('r2', '{"email": "failed", "slack": "delivered"}') AS changed_its_mind;
SELECT report(claim_id, 'w1', pg_temp.outcomes('r3', '{"email": "delivered"}') || pg_temp.outcomes('r1', '{"email": "failed"}') || pg_temp.outcomes('r3', '{"slack": "delivered"}')) AS the_last
FROM claimed WHERE alert_id = 'r3';
SELECT pg_temp.answer('r3', '{"email": "delivered", "slack": "delivered"}') AS after_the_end;
SELECT report(max(claim_id), 'w1', '[]') AS nothing FROM claimed;
SELECT a AS alert, r.* FROM unnest('{r1,r2,r3}'::text[]) a, pg_temp.reached(a) r;
SELECT alert_id, state, channels FROM alert_dlq WHERE alert_id LIKE 'r_' ORDER BY 1;
SELECT alert_id, channel, outcome, attempt FROM delivery_failures WHERE alert_id LIKE 'r_' ORDER BY 1;
SELECT ended, count(*) FROM claim_log WHERE claim_id = (SELECT max(claim_id) FROM claimed) GROUP BY 1 ORDER BY 1;
SELECT pg_temp.fire('r4', 'plain', '["inapp", "email"]');
SELECT pg_temp.claim();
SELECT pg_temp.answer('r4', '{"email": "delivered"}');
SELECT * FROM pg_temp.reached('r4');

-- 8
SELECT count(pg_temp.fire('s' || n)) FROM generate_series(1, 2) n;
SELECT pg_temp.claim();
SELECT (SELECT count(*) FROM alert_deliveries) AS deliveries_before, (SELECT count(*) FROM claim_log) AS log_before \gset
SELECT pg_temp.error_of(format('SELECT pgalert.report(%s, %L, %L)', claim_id, worker, outcomes))
FROM (SELECT c.claim_id, w.worker, w.outcomes
      FROM (SELECT max(claim_id) AS claim_id FROM claimed) c, (VALUES
        (1, 'w1', pg_temp.outcomes('s1', '{"email": "delivered"}') || '[{"delivery_key": "11111111-1111-4111-8111-111111111111", "channel": "email", "outcome": "delivered"}]'),
        (2, 'w1', pg_temp.outcomes('s1', '{"email": "delivered"}') || replace(pg_temp.outcomes('s2', '{"sms": "delivered"}')::text, (SELECT delivery_key::text FROM claimed WHERE alert_id = 's2'), '11111111-1111-4111-8111-111111111111')::jsonb),
        (3, 'w2', pg_temp.outcomes('s1', '{"email": "delivered"}'))) AS w (n, worker, outcomes) ORDER BY n OFFSET 0) AS calls
ORDER BY 1 \g (format=unaligned tuples_only=on)
SELECT SQLSTATE FROM (SELECT left(pg_temp.error_of(format('SELECT pgalert.report(%s, %L, %L)', claim_id, 'w1', pg_temp.outcomes('s1', '{"email": "delivered", "sms": "delivered"}'))), 5) AS SQLSTATE FROM claimed WHERE alert_id = 's1') e;
SELECT (SELECT count(*) FROM alert_deliveries) - :deliveries_before AS deliveries, (SELECT count(*) FROM claim_log) - :log_before AS logged;
SELECT pg_temp.answer('s1', '{"email": "delivered"}'), pg_temp.answer('s2', '{"email": "delivered"}');

-- 9
INSERT INTO recipients (recipient_id, user_id, channel, address) VALUES (11, 'u1', 'email', 'a@example.com'), (12, 'u1', 'email', 'b@example.com'), (13, 'u1', 'email', 'c@example.com'), (14, 'u1', 'slack', '#ops'), (15, 'u2', 'email', 'd@example.com');
SELECT pg_temp.fire('t1', 'plain', '["email", "slack", "sms"]');
SELECT pg_temp.claim();
SELECT jsonb_pretty(recipients) FROM claimed WHERE alert_id = 't1';
SELECT report(claim_id, 'w1', (SELECT jsonb_agg(jsonb_build_object('delivery_key', delivery_key) || o) FROM jsonb_array_elements(
  '[{"channel": "email", "recipient_id": 11, "outcome": "delivered"},
    {"channel": "email", "recipient_id": 12, "outcome": "failed", "error_class": "timeout", "error": "no answer", "host": "mx.example.com", "duration_ms": 30000},
    {"channel": "email", "recipient_id": 13, "outcome": "failed", "error_class": "timeout", "error": "no answer"},
    {"channel": "slack", "recipient_id": 14, "outcome": "delivered"},
    {"channel": "sms", "outcome": "failed", "error_class": "no_address", "error": "user u1 has no address for sms"}]') o))
FROM claimed WHERE alert_id = 't1';
SELECT * FROM pg_temp.reached('t1');
SELECT * FROM pg_temp.dead_letters('t1');
SELECT channel, recipient_id, attempt, outcome, error_class, error, host, duration_ms FROM delivery_failures WHERE alert_id = 't1' ORDER BY 1, 2;
SELECT pg_temp.make_due('t1'), schedule_retries();
SELECT pg_temp.claim();
SELECT recipients, attempt, dlq_id = (SELECT id FROM alert_dlq WHERE alert_id = 't1') AS of_the_letter FROM claimed WHERE alert_id = 't1' AND attempt > 1;
SELECT report(claim_id, 'w1', (SELECT jsonb_agg(jsonb_build_object('delivery_key', delivery_key) || o) FROM jsonb_array_elements(
  '[{"channel": "email", "recipient_id": 12, "outcome": "delivered"}, {"channel": "email", "recipient_id": 13, "outcome": "failed", "error": "again"},
    {"channel": "sms", "outcome": "failed", "error": "still none", "permanent": true}]') o))
FROM claimed WHERE alert_id = 't1' AND attempt = 2;
SELECT * FROM pg_temp.dead_letters('t1');
SELECT * FROM pg_temp.reached('t1');

-- 10
SELECT pg_temp.fire('u1');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.error_of('SELECT pgalert.claim_batch(''w1'', 1, ''1 minute'')') \g (format=unaligned tuples_only=on)
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT call, left(pg_temp.error_of('SELECT pgalert.' || call), 5) AS sqlstate
FROM unnest('{"claim_batch(''w1'', 1, ''1 minute'')","report(1, ''w1'', ''[]'')","extend_lease(1, ''w1'', ''1 minute'')","release_claim(1, ''w1'')",rotate_outbox(),maintain(),confirm_cluster()}'::text[]) call;
SELECT pg_temp.fire('u2') AS producers_may;
COMMIT;
SELECT pg_temp.claim();

-- 11
BEGIN;
UPDATE claims SET hi = (pg_snapshot_xmin(hi)::text || ':99999999:')::pg_snapshot WHERE claim_id = (SELECT claim_id FROM _cursor(1::smallint));
SELECT regexp_replace(pg_temp.error_of('SELECT pgalert.claim_batch(''w1'', 1, ''1 minute'')'), 'come to \d+', 'come to N') \g (format=unaligned tuples_only=on)
ROLLBACK;

-- 12
TRUNCATE outbox, claims, claim_log;
SELECT pg_temp.fire('v1', 'plain', '["email", "sms"]'), pg_temp.fire('v2', 'plain', '["email", "sms"]'), pg_temp.fire('v3'), pg_temp.fire('v4', 'plain', '["email", "sms"]');
SELECT pg_temp.claim();
SELECT pg_temp.answer('v1', '{"email": "delivered", "sms": "delivered"}') AS finished, pg_temp.answer('v2', '{"email": "delivered"}') AS in_part;
SELECT report(claim_id, worker, pg_temp.outcomes('v4', '{"email": "delivered"}', '{"recipient_id": 11}') || pg_temp.outcomes('v4', '{"email": "failed"}', '{"recipient_id": 12}')) AS one_recipient_of_two
FROM claimed WHERE alert_id = 'v4';
SELECT pg_temp.fire('v5', 'slow'), pg_temp.fire('v6', 'fast');
SELECT hold_reason();
SET pgalert.environment = 'staging';
SELECT hold_reason();
SELECT pg_temp.claim(), rotate_outbox(), schedule_retries(), maintain() ? 'held' AS upkeep_held;
RESET pgalert.environment;
SELECT hold_reason();
UPDATE confirmed_cluster SET database_oid = 1;
SELECT hold_reason();
SELECT pg_temp.claim(), rotate_outbox(), schedule_retries(), maintain() ? 'held' AS upkeep_held;
SELECT pg_temp.fire('v7', 'fast') AS producers_may;
SELECT confirm_cluster();
SELECT hold_reason();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.answer('v2', '{"sms": "delivered"}');
SELECT * FROM pg_temp.reached('v2');
-- A restored dump: its rows are of another installation. What is accepted in the new cluster has transaction ids that start
-- again, so that they lie before the old cursors, or between the messages of a claim; it is kept all the same, once.
UPDATE outbox SET install_id = '11111111-1111-4111-8111-111111111111';
UPDATE confirmed_cluster SET install_id = '11111111-1111-4111-8111-111111111111';
SELECT hold_reason();
SELECT pg_temp.fire('v8', 'fast'), pg_temp.fire('v9');
UPDATE outbox SET xid = '5' WHERE alert_id = 'v8';
UPDATE outbox SET xid = (SELECT xid FROM outbox WHERE alert_id = 'v3'), message_id = 1 WHERE alert_id = 'v9';
SELECT pg_temp.claim();
SELECT confirm_cluster();
SELECT hold_reason();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT count(DISTINCT install_id) AS installations, count(*), count(DISTINCT delivery_key) FROM outbox;

-- 13
SELECT pg_temp.drain() > 0 AS drained;
INSERT INTO recipients (user_id, channel, address) SELECT user_id, 'email', user_id || '@example.com' FROM unnest('{x1,x2,x3}'::text[]) user_id;
CREATE INDEX ON recipients (user_id);
SELECT format('CREATE INDEX ON outbox_%s (lane, xid, message_id) WHERE user_id IS NULL', slot), format('CREATE INDEX ON outbox_%s (lane, xid DESC, message_id DESC)', slot),
       format('CREATE INDEX ON claims_%s (lane, claim_id)', slot), format('CREATE INDEX ON claims_%s (lane, claim_id) WHERE expires_at IS NULL', slot)
FROM generate_series(0, 2) slot \gexec
REINDEX INDEX CONCURRENTLY recipients_user;
SELECT format('REINDEX INDEX CONCURRENTLY %s', inhrelid::regclass) FROM pg_inherits WHERE inhparent IN ('outbox_queue'::regclass, 'claims_cursor'::regclass) ORDER BY 1 \gexec
SELECT count(deliver_alert(jsonb_build_object('id', 'x' || n, 'channels', '["email"]'::jsonb, 'priority', 'plain', 'expires_at', clock_timestamp() + interval '1 hour'), 'x' || n, 'm'))
FROM generate_series(1, 3) n;
SELECT pg_temp.claim(1), pg_temp.claim(1);
UPDATE claims SET lease_until = clock_timestamp() - interval '1 second' WHERE claim_id IN (SELECT claim_id FROM claimed WHERE alert_id LIKE 'x_');
SELECT setval('leases_searched_at', 1);
SELECT pg_temp.claim(1) AS taken_over;
SELECT pg_temp.claim(1) AS taken_over;
SELECT pg_temp.claim(1) AS the_last;
SELECT pg_temp.claim(1) AS nothing;
SELECT alert_id, recipients -> 'email' -> 0 ->> 'address' AS address FROM claimed WHERE alert_id LIKE 'x_' ORDER BY n;
