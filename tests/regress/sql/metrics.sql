-- What is counted, and what metrics() says of it.
--   1. Nothing has happened: each series is there, with 0.
--   2. Each answer of deliver_alert() counts once, single or in bulk; all of them are the calls.
--   3. Deliveries are the rows of alert_deliveries, whoever wrote them.
--   4. Failed and deferred outcomes, retries, exhausted letters.
--   5. A call that is rolled back counts; one that raised an error does not.
--   6. Gauges: lanes, letters by state, open claims, whether it is held; letters by channel and class, of a closed set.
--   7. The counters go on after a restore: pg_dump takes their values.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql

-- what_changed(): the series that differ from those of the call before, and by how much.
CREATE TEMPORARY TABLE before AS SELECT * FROM pgalert.metrics();
CREATE FUNCTION pg_temp.what_changed() RETURNS TABLE (series text, change double precision) LANGUAGE plpgsql AS $$
BEGIN
  CREATE TEMPORARY TABLE now AS SELECT * FROM pgalert.metrics();
  RETURN QUERY SELECT name || (labels - 'scope')::text, coalesce(n.value, 0) - coalesce(b.value, 0) FROM now n FULL JOIN before b USING (name, labels)
               WHERE n.value IS DISTINCT FROM b.value AND name <> 'pgalert_queue_oldest_seconds' ORDER BY (name || (labels - 'scope')::text) COLLATE "C";
  DROP TABLE before;
  ALTER TABLE now RENAME TO before;
END
$$;
INSERT INTO policies (name, daily_limit, retry_schedule) VALUES ('many', NULL, '{5 minutes}'), ('never', NULL, '{}');

-- 1
SELECT name, labels, value FROM metrics() ORDER BY name COLLATE "C", labels::text COLLATE "C";

-- 2
SELECT deliver_alert('{"id": "a", "channels": ["email", "inapp"]}', 'u', 'm1');
SELECT deliver_alert('{"id": "a", "channels": ["email", "inapp"]}', 'u', 'm1');
SELECT deliver_alert('{"id": "a", "channels": ["email"]}', 'u', 'm2');
SELECT deliver_alert('{"id": "a", "channels": []}', 'u', 'm3');
SELECT deliver_alert('{"id": "b"}', 'u', 'm4');
SELECT deliver_alert('{"id": "c", "expires_at": "2001-01-01"}', 'u', 'm5');
SELECT * FROM pg_temp.what_changed();
SELECT ordinal, status FROM deliver_alerts(ARRAY['{"alert": {"id": "d", "channels": ["email"], "priority": "many"}, "user_id": "u", "message": "m6"}',
  '{"alert": {"id": "d", "channels": ["email"], "priority": "many"}, "user_id": "u", "message": "m6"}',
  '{"alert": {"id": "d", "channels": ["email"], "priority": "many"}, "user_id": "u", "message": "m7"}',
  '{"alert": {"id": "b"}, "user_id": "u", "message": "m8"}',
  '{"alert": {"id": "e"}, "user_id": "u", "message": "m9"}',
  '{"alert": {"id": "f", "channels": []}, "user_id": "u", "message": "m10"}',
  '{"alert": {"id": "g", "expires_at": "2001-01-01"}, "user_id": "u", "message": "m11"}']::jsonb[]);
SELECT * FROM pg_temp.what_changed();

-- 3
SELECT pg_temp.claim();
SELECT * FROM pg_temp.what_changed();
SELECT pg_temp.answer('a', '{"email": "delivered"}');
SELECT pg_temp.answer('a', '{"email": "delivered"}') AS repeated;
SELECT track_delivery('t', '{"message": "m12", "user_id": "u"}', '["email"]') IS NOT NULL AS tracked;
SELECT * FROM pg_temp.what_changed();
SELECT value = (SELECT count(*) FROM alert_deliveries) AS equal FROM metrics() WHERE name IN ('alert_deliveries_total', 'pgalert_deliveries_total');

-- 4
SELECT deliver_alert('{"id": "h", "channels": ["email"], "priority": "many"}', 'u', 'm13');
SELECT deliver_alert('{"id": "i", "channels": ["email"], "priority": "many"}', 'u', 'm14');
SELECT deliver_alert('{"id": "j", "channels": ["email"], "priority": "never"}', 'u', 'm15');
SELECT deliver_alert('{"id": "k", "channels": ["email"], "priority": "many"}', 'u', 'm16');
SELECT pg_temp.claim();
SELECT pg_temp.answer('h', '{"email": "failed"}'), pg_temp.answer('i', '{"email": "failed"}'), pg_temp.answer('j', '{"email": "failed"}'), pg_temp.answer('k', '{"email": "deferred"}');
SELECT * FROM pg_temp.what_changed();
SELECT pg_temp.make_due('h'), pg_temp.make_due('i'), pg_temp.make_due('k');
SELECT schedule_retries();
SELECT pg_temp.claim();
SELECT * FROM pg_temp.what_changed();
SELECT pg_temp.answer('h', '{"email": "delivered"}'), pg_temp.answer('i', '{"email": "failed"}'), pg_temp.answer('k', '{"email": "deferred"}');
SELECT * FROM pg_temp.what_changed();
SELECT push_to_dlq('l', '{"message": "m17", "user_id": "u", "notify_email": true, "priority": "many"}', 'e') AS letter \gset
SELECT push_to_dlq('l', '{"message": "m18", "user_id": "u", "notify_email": true, "priority": "never"}', 'e') IS NOT NULL AS pushed;
SELECT increment_retry_count(:'letter');
SELECT * FROM pg_temp.what_changed();

-- 5
BEGIN;
SELECT deliver_alert('{"id": "n", "channels": ["email"]}', 'u', 'm19');
ROLLBACK;
SELECT pg_temp.error_of($$SELECT deliver_alert('{"id": "o", "channels": ["smoke"]}', 'u', 'm20')$$);
SELECT name, labels - 'scope' AS labels, value - (SELECT b.value FROM before b WHERE (b.name, b.labels) = (m.name, m.labels)) AS change
FROM metrics() m WHERE labels ->> 'result' = 'queued' OR name = 'deliver_alert_calls_total';

-- 6
SET pgalert.environment = 'staging';
SELECT name, labels, value FROM metrics() WHERE name = 'pgalert_held';
RESET pgalert.environment;
SELECT deliver_alert('{"id": "p", "channels": ["email"], "priority": "high"}', 'u', 'm21');
SELECT name, labels ->> 'lane' AS lane, value > 0 AS positive FROM metrics() WHERE name LIKE 'pgalert_queue%' ORDER BY 1, 2;
SELECT count(*) AS differ FROM metrics() m WHERE name = 'pgalert_dead_letters' AND value <> (SELECT count(*) FROM alert_dlq d WHERE d.state = m.labels ->> 'state');

SELECT deliver_alert('{"id": "q", "channels": ["email", "webhook"], "priority": "never"}', 'u', 'm22');
SELECT pg_temp.claim(), pg_temp.claim();
SELECT pg_temp.answer('q', '{"webhook": "failed", "email": "failed"}', '{"error_class": "slack.invalid_blocks"}');
SELECT * FROM pg_temp.what_changed();
SELECT _class_label(c) AS label, string_agg(c, ' ') AS classes
FROM unnest('{connect,http.5xx,slack.invalid_blocks,slack.ratelimited,slack,twilio.21211,unknown,reported,http.418,mine,""}'::text[]) c GROUP BY 1 ORDER BY 1;
SELECT remove_from_dlq(id) AS removed FROM alert_dlq WHERE alert_id = 'q';
SELECT * FROM pg_temp.what_changed();

-- 7
SELECT count(*) AS counters, count(*) FILTER (WHERE c.oid = ANY (e.extconfig)) AS dumped, count(*) FILTER (WHERE c.relpersistence = 'p') AS logged
FROM pg_class c, pg_extension e WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relname LIKE 'count\_%' AND c.relkind = 'S' AND e.extname = 'pgalert';
SELECT count(DISTINCT _counter(substr(c.relname, 7))) AS named FROM pg_class c
WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relname LIKE 'count\_%' AND _counter(substr(c.relname, 7)) = c.oid;
