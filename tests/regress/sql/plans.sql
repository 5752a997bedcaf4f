-- Plans that need no statistics: with 200,000 messages waiting in tables that were analyzed when they were empty, each call
-- reads what it needs and no more. Rows are counted, not time.
--   1. A claim reads its messages once or twice; so do report and take-over. Nothing is read by a sequential scan.
--   2. The check of a rotation, and an empty claim behind a million claims, are a few probes.
--   3. What has long ended costs nothing: claims behind the low-water mark are not read.
--   4. Retry selection reads what is due; report of a retry reads its letters.
--   5. Firing reads the keys of its alert; the inbox reads what it shows.
--   6. A list of dead letters reads what it shows.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
DO $$
DECLARE
  name regclass;
BEGIN
  FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'pgalert'::regnamespace AND relkind = 'r' LOOP
    EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', name);
  END LOOP;
END
$$;
ANALYZE outbox, claims, claim_log, dedup_keys, alert_dlq, recipients, notifications;

\i :srcdir/include/reads.sql
-- Messages as deliver_alert writes them, in 40 transactions.
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pgalert.deliver_alert('{"id": "first", "channels": ["email"]}', 'u1', 'm');
  COMMIT;
  FOR part IN 1 .. 40 LOOP
    INSERT INTO pgalert.outbox (slot, lane, install_id, delivery_key, alert_id, user_id, priority, channels, content_hash, bytes, accepted_at, enqueued_at, alert_data)
    SELECT o.slot, part % 2 + 1, o.install_id, gen_random_uuid(), 'a' || n, 'u' || n % 100, 'normal', '{email}', 'h' || n, 100, now(), now(), '{"message": "m"}'
    FROM generate_series(1, 5000) n, (SELECT * FROM pgalert.outbox WHERE alert_id = 'first') o;
    COMMIT;
  END LOOP;
END
$$;
CALL fill();
SELECT count(*) FROM outbox;
INSERT INTO dedup_keys SELECT gen_random_uuid(), gen_random_uuid(), now() + interval '1 day', now() + interval '1 day', gen_random_uuid() FROM generate_series(1, 50000);
INSERT INTO notifications (user_id, alert_id, message, priority, delivery_key) SELECT 'u' || n % 2, 'a', 'm', 'normal', gen_random_uuid() FROM generate_series(1, 50000) n;
INSERT INTO recipients (user_id, channel, address) SELECT 'u' || n, 'email', 'u' || n || '@example.com' FROM generate_series(1, 50000) n;

-- 1
CREATE FUNCTION pg_temp.report_all(outcome text) RETURNS integer LANGUAGE sql AS $$
  SELECT pgalert.report(c.claim_id, c.worker, jsonb_agg(jsonb_build_object('delivery_key', c.delivery_key, 'channel', 'email', 'outcome', outcome)))
  FROM claimed c WHERE c.claim_id = (SELECT max(claim_id) FROM claimed) GROUP BY c.claim_id, c.worker
$$;
SELECT pg_temp.claim(1);
SELECT pg_temp.report_all('delivered');
CALL measure('SELECT pg_temp.claim(100)', 500);
CALL measure('SELECT pg_temp.report_all(''delivered'')', 500);
CALL measure('SELECT pg_temp.claim(100)', 500);
CALL measure('SELECT pg_temp.report_all(''failed'')', 2000);
CALL measure('SELECT pg_temp.claim(100, ''lost'')', 500);
SELECT pg_temp.expire_leases();
CALL measure('SELECT pg_temp.claim(100, ''w2'')', 1500);
CALL measure('SELECT pg_temp.report_all(''delivered'')', 1000);
SELECT count(DISTINCT delivery_key), count(*) FROM claimed;

-- 2
SELECT setval('outbox_slot', 1);
CALL measure('SELECT pgalert._slot_is_claimed(0::smallint)', 20);
SELECT setval('outbox_slot', 0);
SELECT count(*) FROM claim_batch('w1', 1, '1 hour');
CREATE PROCEDURE drain() LANGUAGE plpgsql AS $$
DECLARE
  claim bigint;
BEGIN
  LOOP
    SELECT max(b.claim_id) INTO claim FROM pgalert.claim_batch('w1', 10000, '1 hour') b;
    EXIT WHEN claim IS NULL;
    INSERT INTO pgalert.claim_log (slot, claim_id, ended) VALUES (0, claim, 'finished');
    COMMIT;
  END LOOP;
END
$$;
CALL drain();
SELECT rotate_outbox();
INSERT INTO claims (slot, lane, claim_id, lo, hi, after_xid, after_id, upto_xid, upto_id, messages, worker, lease_until)
SELECT 0, 0, nextval('claim_id'), '3:3:', '3:3:', '0', 0, '0', 0, 1, 'old', now() FROM generate_series(1, 100000);
INSERT INTO claim_log (slot, claim_id, ended) SELECT 0, claim_id, 'finished' FROM claims WHERE worker = 'old';
INSERT INTO claim_log (slot, claim_id, ended) SELECT slot, claim_id, 'finished' FROM claims c WHERE worker <> 'old' AND NOT EXISTS (SELECT FROM claim_log l WHERE l.claim_id = c.claim_id AND ended IS NOT NULL);

-- 3
SELECT setval('leases_searched_at', 1);
SELECT pg_temp.claim(1);
SELECT setval('leases_searched_at', 1);
CALL measure('SELECT pg_temp.claim(1)', 30);
CALL measure('SELECT * FROM pgalert.queue_depth()', 30);
CALL measure('SELECT * FROM pgalert.open_claims()', 30);

-- 4
INSERT INTO alert_dlq (alert_id, alert_data, error_message, error_class, state, channels, next_retry_at, priority, content_hash, delivery_key, accepted_at)
SELECT 'l' || n, '{"message": "m"}', 'e', 'e', 'waiting', '{email}', now() + n * interval '1 minute' - interval '50 minutes', 'normal', 'h', gen_random_uuid(), now()
FROM generate_series(1, 50000) n;
CALL measure('SELECT pgalert.schedule_retries()', 300);
SELECT state, count(*) FROM alert_dlq WHERE alert_id LIKE 'l%' GROUP BY 1 ORDER BY 1;
CALL measure('SELECT * FROM pgalert.get_failed_alerts(5, 20)', 100);
CALL measure('SELECT pg_temp.claim(100)', 500);
CALL measure('SELECT pg_temp.report_all(''failed'')', 3000);
SELECT state, retry_count, count(*) FROM alert_dlq WHERE alert_id LIKE 'l%' GROUP BY 1, 2 ORDER BY 1, 2;

-- 5
CALL measure('SELECT pgalert.deliver_alert(''{"id": "f1", "channels": ["email", "inapp"]}'', ''u1'', ''m'')', 20);
CALL measure('SELECT pgalert.deliver_alert(''{"id": "f1", "channels": ["email", "inapp"]}'', ''u1'', ''m'')', 20);
CREATE FUNCTION pg_temp.many(prefix text) RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM pgalert.deliver_alerts(ARRAY(
    SELECT jsonb_build_object('user_id', 'u' || n, 'message', prefix || n, 'alert', '{"id": "f2", "channels": ["email"]}'::jsonb) FROM generate_series(1, 100) n))
$$;
CALL measure('SELECT pg_temp.many(''one'')', 1000);
CALL measure('SELECT pg_temp.many(''two'')', 1000);
CALL measure('SELECT * FROM pgalert.inbox(''u1'')', 100);
CALL measure('SELECT pgalert.check_duplicate_delivery(''none'')', 10);
CALL measure('SELECT pgalert.remove_from_dlq((SELECT id FROM pgalert.alert_dlq WHERE alert_id = ''l300''))', 20);

-- 6
INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash, delivery_key, accepted_at, host)
SELECT 'l' || n % 500, 'u' || n % 2000, '{}', 'no answer', 'timeout', (ARRAY['exhausted', 'permanent'])[n % 2 + 1], '{email}', 'normal', 'h' || n, gen_random_uuid(), now(), 'host-' || n % 20
FROM generate_series(1, 20000) n;
ANALYZE alert_dlq;
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{}')$$, 200);
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{"user_id": "u7"}')$$, 200);
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{"alert_id": "l7"}')$$, 200);
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{"alert_id": "l7", "state": "permanent"}')$$, 200);
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{"host": "host-3"}')$$, 200);
CALL measure($$SELECT count(*) FROM pgalert.list_dead_letters('{"state": "exhausted"}')$$, 200);
