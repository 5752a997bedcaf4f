-- Counts and statistics.
--   1. dlq_states is what counting would give, after each way in which letters change, and after the differences were added up.
--   2. Deliveries, failures and deferrals are counted by hour and channel; adding up changes nothing; hours replace minutes.
--   3. A transaction that commits late is counted, and once; one that is rolled back is not.
--   4. Classes of durations; percentiles lie within a sixth.
--   5. What a retry saved.
--   6. overview() tells it all, with empty buckets too.
--   7. Kinds of errors leave out what differs.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
\i :srcdir/include/published.sql
INSERT INTO policies (name, daily_limit) VALUES ('plain', NULL);
CREATE FUNCTION pg_temp.fire(alert text) RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email", "sms"]'::jsonb, 'priority', 'plain'), 'u1', 'about ' || alert)
$$;
CREATE VIEW pg_temp.counts_differ AS
SELECT s.state, s.letters, count(d.id) AS counted FROM dlq_states s LEFT JOIN alert_dlq d ON d.state = s.state GROUP BY 1, 2 HAVING s.letters <> count(d.id);

-- 1
SELECT count(pg_temp.fire('a' || n)) FROM generate_series(1, 8) n;
SELECT pg_temp.claim() IS NOT NULL AS claimed;
SELECT pg_temp.answer('a' || n, '{"email": "delivered", "sms": "delivered"}') FROM generate_series(1, 2) n;
SELECT pg_temp.answer('a' || n, '{"email": "delivered", "sms": "failed"}', '{"error_class": "timeout", "host": "h"}') FROM generate_series(3, 4) n;
SELECT pg_temp.answer('a5', '{"email": "deferred", "sms": "failed"}', '{"permanent": true}');
SELECT pg_temp.answer('a' || n, '{"email": "failed", "sms": "failed"}', '{"permanent": true}') FROM generate_series(6, 8) n;
SELECT * FROM dlq_states;
SELECT * FROM pg_temp.counts_differ;
SELECT error_class, channel, host, letters FROM dlq_errors ORDER BY 1, 2, 3;
SELECT count(push_to_dlq('p' || n, '{"notify_email": true, "message": "m", "user_id": "u1"}', 'error ' || n)) FROM generate_series(1, 30) n;
SELECT retry_matching('{"alert_id": "a6"}'), discard_matching('{"alert_id": "a7"}', 10, 'r'), (SELECT increment_retry_count(id) FROM alert_dlq WHERE alert_id = 'p1'), (SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'p2');
SELECT count(*) FROM pg_temp.counts_differ;
BEGIN;
DELETE FROM alert_dlq;
SELECT sum(letters) AS inside FROM dlq_states;
ROLLBACK;
SELECT count(*) FROM pg_temp.counts_differ;
CREATE PROCEDURE pg_temp.stir() LANGUAGE plpgsql AS $$
BEGIN
  FOR n IN 1 .. 1100 LOOP
    UPDATE pgalert.alert_dlq SET error_class = CASE n % 2 WHEN 0 THEN 'dns' ELSE 'tls' END WHERE alert_id = 'p3';
  END LOOP;
END
$$;
CALL pg_temp.stir();
SELECT count(*) > 1000 AS many FROM letter_counts;
SELECT _add_up_letter_counts();
SELECT count(*) < 50 AS few, (SELECT count(*) FROM pg_temp.counts_differ) AS differ FROM letter_counts;
TRUNCATE alert_dlq;
SELECT sum(letters) FROM dlq_states;

-- 2
CREATE VIEW pg_temp.hourly AS SELECT channel, sum(deliveries) AS deliveries, sum(failed) AS failed, sum(deferred) AS deferred FROM delivery_stats_hourly GROUP BY channel ORDER BY channel;
SELECT * FROM pg_temp.hourly;
SELECT success_rate FROM delivery_stats_hourly WHERE channel = 'sms' AND deliveries > 0;
SELECT maintain() ? 'dedup_keys_purged' AS maintained;
SELECT (SELECT count(*) FROM delivery_stats_new) AS new_deliveries, (SELECT count(*) FROM failure_stats_new) AS new_failures;
SELECT * FROM pg_temp.hourly;
UPDATE delivery_stats SET at = at - interval '1 day';
UPDATE failure_stats SET at = at - interval '1 day';
UPDATE added_up SET minutes_from = minutes_from - interval '1 day';
SELECT _add_up_stats(), _add_up_stats();
SELECT DISTINCT width FROM delivery_stats UNION SELECT DISTINCT width FROM failure_stats;
SELECT * FROM pg_temp.hourly;

-- 3
CREATE FUNCTION pg_temp.late(ago interval) RETURNS void LANGUAGE sql AS $$
  INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivered_at, delivery_key, attempt, priority, accepted_at)
  SELECT 'late', 'u1', 'h', '["webhook"]', clock_timestamp() - ago, gen_random_uuid(), 1, 'normal', clock_timestamp() - ago - interval '3 seconds'
$$;
SELECT pg_temp.late('1 minute'), pg_temp.late('5 hours'), pg_temp.late('3 days');
SELECT _add_up_stats();
SELECT pg_temp.late('1 minute'), pg_temp.late('5 hours'), pg_temp.late('3 days');
BEGIN;
SELECT pg_temp.late('1 minute');
ROLLBACK;
SELECT _add_up_stats(), _add_up_stats();
SELECT width, sum(deliveries) FROM delivery_stats WHERE channel = 'webhook' GROUP BY 1 ORDER BY 1;
SELECT set_setting('retention', '2 days'), _add_up_stats();
SELECT sum(deliveries) FROM delivery_stats WHERE channel = 'webhook';
SELECT set_setting('retention', NULL);

-- 4
SELECT c, round(_class_seconds(c)::numeric, 4) AS seconds FROM unnest('{0,1,3,24,53,80}'::smallint[]) c;
SELECT _percentile('{8,16,24}', '{50,49,1}', 0.5) < 0.01 AS half, _percentile('{8,16,24}', '{50,49,1}', 0.995) > 0.5 AS most, _percentile('{}', '{}', 0.5) AS of_nothing;
SELECT p50_seconds BETWEEN 2.5 AND 3.5 AS p50, p99_seconds BETWEEN 2.5 AND 3.5 AS p99 FROM delivery_stats_hourly WHERE channel = 'webhook' ORDER BY hour LIMIT 1;

-- 5
SELECT pg_temp.fire('saved');
SELECT pg_temp.claim() IS NOT NULL AS claimed;
SELECT pg_temp.answer('saved', '{"email": "failed", "sms": "failed"}');
SELECT retry_now(id) FROM alert_dlq WHERE alert_id = 'saved';
SELECT pg_temp.claim() IS NOT NULL AS claimed;
SELECT pg_temp.answer('saved', '{"email": "delivered", "sms": "delivered"}');
SELECT channel, sum(by_retry) AS by_retry, max(share_saved) > 0 AS share, max(average_retries) > 0 AS average FROM retry_stats WHERE channel IN ('email', 'sms') GROUP BY 1 ORDER BY 1;

-- 6
SELECT overview() - '{at,series,seconds,queue,channels}'::text[];
SELECT p, jsonb_array_length(overview(p) -> 'series') AS buckets, jsonb_path_query_array(overview(p), '$.series[*].delivered') @> '[0]' AS with_empty_ones FROM unnest('{1 hour,1 day,7 days}'::interval[]) p;
SELECT jsonb_path_query_array(overview('4 days'), '$.channels[*].channel') AS channels, overview('4 days') #> '{seconds,p50}' > '0' AS timed, jsonb_array_length(overview() -> 'queue') AS lanes;
SELECT pg_temp.error_of(format('SELECT pgalert.overview(%L)', p)) FROM unnest('{NULL,0,1 year}'::text[]) p;

-- 7
SELECT _error_group(e) FROM (VALUES
  (1, 'email: 550 5.1.1 <a.b@example.com>: no such user; queued as 4F3A2B1C9D'), (2, 'webhook: POST https://hooks.example.com/x?token=abc answered 503'), (3, 'connect to 10.1.2.3:443: refused'),
  (4, 'connect to [2001:db8::1]:25 failed'), (5, 'message 0199c1f2-7b1c-7d7e-8a50-0123456789ab of user "Alice O''Brien" was lost'), (6, 'twilio 21211'), (7, 'no answer within 15 s'), (8, '')) AS v (n, e) ORDER BY n;
