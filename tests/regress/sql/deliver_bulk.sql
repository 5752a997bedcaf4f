-- Firing many alerts in one call.
--   1. deliver_alerts decides each element as deliver_alert would, one after the other, and writes the same rows.
--   2. A bad element fails the call, is named in DETAIL by its ordinal, and nothing of the call stays.
--   3. It returns one row for each element, in order; the delivery_key is that of what was written.
--   4. A call of plain alerts is decided and written at once, with what one by one, or a call that has others too, would leave. Where it is
--      undone to a savepoint, nothing stays; a plain element between others that are not is decided with them.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, daily_limit, dedup_window, lane) VALUES
  ('thrice', 3, '24 hours', 'high'), ('often', NULL, '1 hour', 'low'), ('always', NULL, '0', 'normal'), ('most', 64, '0', 'normal');
-- What lies in the tables, without what differs each time: keys, numbers, times, and bytes by the width of a header.
CREATE FUNCTION pg_temp.rows() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT kind || ' ' || (row - '{bytes,delivery_key,message_id,notification_id,id,xid,accepted_at,enqueued_at,created_at,delivered_at,suppressed_at}'::text[])::text
  FROM (SELECT 'outbox' AS kind, to_jsonb(o) AS row FROM pgalert.outbox o
        UNION ALL SELECT 'notification', to_jsonb(n) FROM pgalert.notifications n
        UNION ALL SELECT 'delivery', to_jsonb(d) FROM pgalert.alert_deliveries d
        UNION ALL SELECT 'suppressed', to_jsonb(s) FROM pgalert.suppressed_alerts s
        UNION ALL SELECT 'letter', to_jsonb(l) FROM pgalert.alert_dlq l
        UNION ALL SELECT 'key', jsonb_build_object('key', key, 'held_by', coalesce(
            (SELECT o.alert_data ->> 'message' FROM pgalert.outbox o WHERE o.delivery_key = k.owner),
            (SELECT n.message FROM pgalert.notifications n WHERE n.delivery_key = k.owner))) 
        FROM pgalert.dedup_keys k CROSS JOIN unnest(ARRAY[k.content_key, k.day_key]) key WHERE key IS NOT NULL) AS r
$$;

-- 1: 240 elements of few users, alerts, contents, policies and channels, so that they meet each other often.
CREATE TABLE firings AS
SELECT n, jsonb_strip_nulls(jsonb_build_object(
    'user_id', 'u' || n % 3,
    'message', 'm' || (n * 7 + n / 11) % 13,
    'dedup_window', CASE n % 17 WHEN 3 THEN '0' WHEN 5 THEN '5 minutes' END,
    'traceparent', CASE n % 19 WHEN 0 THEN '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' WHEN 1 THEN 'none' END,
    'alert', jsonb_build_object(
      'id', 'a' || (n * 3 + n / 7) % 5,
      'channels', (ARRAY['["email"]', '["inapp"]', '["inapp", "email"]', '{"email": true, "sms": true}', '[]']::jsonb[])[1 + (n + n / 5) % 5],
      'priority', CASE n / 3 % 6 WHEN 0 THEN 'thrice' WHEN 1 THEN 'often' WHEN 2 THEN 'always' WHEN 3 THEN 'high' END,
      'dedup_key', CASE n % 7 WHEN 2 THEN 'k' || n % 4 END,
      'expires_at', CASE n % 23 WHEN 4 THEN '2020-01-01' WHEN 9 THEN '2100-01-01' END,
      'condition', CASE n % 3 WHEN 1 THEN '{"above": 1}'::jsonb END))) AS firing
FROM generate_series(1, 240) n;
-- Some keys are held before, by alerts of another call; one of them has run out.
SELECT deliver_alert('{"id": "a1", "channels": ["email"], "condition": {"above": 1}}', 'u1', 'm1'),
       deliver_alert('{"id": "a2", "channels": ["email"], "priority": "thrice"}', 'u2', 'm2'),
       deliver_alert('{"id": "a3", "channels": ["email"], "priority": "thrice"}', 'u0', 'm3');
UPDATE dedup_keys SET content_until = clock_timestamp() - interval '1 second', day_until = clock_timestamp() - interval '1 second' WHERE owner = (SELECT delivery_key FROM outbox WHERE alert_id = 'a3');

BEGIN;
SELECT string_agg(deliver_alert(firing -> 'alert', firing ->> 'user_id', firing ->> 'message', (firing ->> 'dedup_window')::interval, firing ->> 'traceparent'), ' ' ORDER BY n) AS one_by_one
FROM (SELECT * FROM firings ORDER BY n OFFSET 0) f \gset
SELECT string_agg(r, E'\n' ORDER BY r COLLATE "C") AS rows_one_by_one FROM pg_temp.rows() r \gset
ROLLBACK;
SELECT status, count(*) FROM unnest(string_to_array(:'one_by_one', ' ')) status GROUP BY 1 ORDER BY 1;

BEGIN;
CREATE TEMPORARY TABLE results AS
SELECT * FROM deliver_alerts((SELECT array_agg(firing ORDER BY n) FROM firings));
SELECT string_agg(status, ' ' ORDER BY ordinal) = :'one_by_one' AS statuses_equal, count(*), count(DISTINCT ordinal), min(ordinal), max(ordinal) FROM results;
SELECT string_agg(r, E'\n' ORDER BY r COLLATE "C") = :'rows_one_by_one' AS rows_equal FROM pg_temp.rows() r;
SELECT r AS row_of_bulk_alone FROM pg_temp.rows() r WHERE r <> ALL (string_to_array(:'rows_one_by_one', E'\n')) ORDER BY 1 LIMIT 5;
SELECT r AS row_of_single_alone FROM unnest(string_to_array(:'rows_one_by_one', E'\n')) r WHERE r NOT IN (SELECT pg_temp.rows()) ORDER BY 1 LIMIT 5;

-- 3
SELECT status, delivery_key IS NULL AS without_key, count(*), count(DISTINCT delivery_key) AS keys,
       count(*) FILTER (WHERE EXISTS (SELECT FROM outbox o WHERE o.delivery_key = r.delivery_key)) AS outbox,
       count(*) FILTER (WHERE EXISTS (SELECT FROM notifications o WHERE o.delivery_key = r.delivery_key)) AS notifications,
       count(*) FILTER (WHERE EXISTS (SELECT FROM alert_dlq o WHERE o.delivery_key = r.delivery_key)) AS dead_letters
FROM results r GROUP BY 1, 2 ORDER BY 1;
ROLLBACK;
SELECT * FROM deliver_alerts('{}');
-- A trace that cannot be followed costs no alert, whatever it is.
SELECT ordinal, status FROM deliver_alerts(ARRAY(
  SELECT jsonb_build_object('user_id', 'u', 'message', 't' || n, 'traceparent', parent, 'alert', '{"id": "traced", "priority": "most", "channels": ["email"]}'::jsonb)
  FROM (VALUES (1, 'null'::jsonb), (2, '"00-1"'), (3, '5'), (4, '{}'), (5, '"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-extra"')) AS t (n, parent) ORDER BY n));
SELECT alert_data ->> 'message' AS message, traceparent FROM outbox WHERE alert_id = 'traced' ORDER BY 1;
-- The whole of a full day, in one call and over two.
SELECT status, count(*) FROM deliver_alerts(ARRAY(
  SELECT jsonb_build_object('user_id', 'u', 'message', 'd' || n, 'alert', '{"id": "full", "priority": "most", "channels": ["email"]}'::jsonb)
  FROM generate_series(1, 60) n)) GROUP BY 1 ORDER BY 1;
SELECT status, count(*) FROM deliver_alerts(ARRAY(
  SELECT jsonb_build_object('user_id', 'u', 'message', 'e' || n, 'alert', '{"id": "full", "priority": "most", "channels": ["email"]}'::jsonb)
  FROM generate_series(1, 10) n)) GROUP BY 1 ORDER BY 1;

-- 4
CREATE TABLE plain AS
SELECT n, jsonb_strip_nulls(jsonb_build_object(
    'user_id', 'u' || n % 7,
    'message', 'm' || (n * 7 + n / 11) % 13,
    'traceparent', CASE n % 19 WHEN 0 THEN '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' WHEN 1 THEN 'none' END,
    'alert', jsonb_build_object(
      'id', 'p' || (n * 3 + n / 7) % 31,
      'channels', (ARRAY['["email"]', '["inapp"]', '["inapp", "email"]', '{"email": true, "sms": true}']::jsonb[])[1 + (n + n / 5) % 4],
      'priority', CASE n / 3 % 6 WHEN 0 THEN 'high' WHEN 1 THEN 'low' END,
      'dedup_key', CASE n % 7 WHEN 2 THEN 'k' || n % 4 END,
      'condition', CASE n % 3 WHEN 1 THEN '{"above": 1}'::jsonb END))) AS firing
FROM generate_series(1, 350) n;
CREATE FUNCTION pg_temp.in_full() RETURNS numeric LANGUAGE sql AS $$
  SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE funcname = '_deliver_all_in_full'
$$;
BEGIN;
SET LOCAL track_functions = 'all';
DELETE FROM policies;
DELETE FROM settings;
ALTER SEQUENCE settings_written RESTART;
SELECT deliver_alert(firing -> 'alert', firing ->> 'user_id', firing ->> 'message') FROM plain WHERE n IN (20, 100) ORDER BY n;
UPDATE dedup_keys SET content_until = clock_timestamp() - interval '1 second' WHERE owner = (SELECT delivery_key FROM outbox WHERE alert_id = (SELECT firing #>> '{alert,id}' FROM plain WHERE n = 20));
UPDATE dedup_keys SET day_until = clock_timestamp() - interval '1 second' WHERE owner = (SELECT delivery_key FROM outbox WHERE alert_id = (SELECT firing #>> '{alert,id}' FROM plain WHERE n = 100));
SAVEPOINT before;
SELECT string_agg(deliver_alert(firing -> 'alert', firing ->> 'user_id', firing ->> 'message', traceparent => firing ->> 'traceparent'), ' ' ORDER BY n) AS one_by_one
FROM (SELECT * FROM plain ORDER BY n OFFSET 0) f \gset
SELECT string_agg(r, E'\n' ORDER BY r COLLATE "C") AS rows_one_by_one FROM pg_temp.rows() r \gset
SELECT status, count(*) FROM unnest(string_to_array(:'one_by_one', ' ')) status GROUP BY 1 ORDER BY 1;
ROLLBACK TO before;
SELECT string_agg(status, ' ' ORDER BY ordinal) = :'one_by_one' AS statuses_equal, count(*), min(ordinal), max(ordinal), count(delivery_key) AS keys, pg_temp.in_full()
FROM deliver_alerts((SELECT array_agg(firing ORDER BY n) FROM plain));
SELECT string_agg(r, E'\n' ORDER BY r COLLATE "C") = :'rows_one_by_one' AS rows_equal FROM pg_temp.rows() r;
SELECT r AS row_of_bulk_alone FROM pg_temp.rows() r WHERE r <> ALL (string_to_array(:'rows_one_by_one', E'\n')) ORDER BY 1 LIMIT 5;
SELECT status, count(*) FROM deliver_alerts((SELECT array_agg(firing ORDER BY n DESC) FROM plain)) GROUP BY 1 ORDER BY 1;
SELECT count(*) = count(DISTINCT key) AS each_once FROM dedup_keys k CROSS JOIN unnest(ARRAY[k.content_key, k.day_key]) key WHERE key IS NOT NULL;
ROLLBACK TO before;
SELECT count(*) FILTER (WHERE status = 'queued') > 1 AS queued, pg_temp.in_full() FROM deliver_alerts((SELECT array_agg(firing ORDER BY n) FROM plain));
ROLLBACK TO before;
SELECT string_agg(status, ' ' ORDER BY ordinal) = :'one_by_one' AS statuses_equal, pg_temp.in_full() FROM _deliver_all_in_full((SELECT array_agg(firing ORDER BY n) FROM plain));
SELECT string_agg(r, E'\n' ORDER BY r COLLATE "C") = :'rows_one_by_one' AS rows_equal FROM pg_temp.rows() r;
ROLLBACK TO before;
SELECT string_agg(status, ' ' ORDER BY ordinal), pg_temp.in_full() FROM deliver_alerts(ARRAY[
  '{"user_id": "v", "message": "one", "alert": {"id": "v1", "channels": ["email"]}}',
  '{"user_id": "v", "message": "two", "alert": {"id": "v2", "channels": ["email"], "expires_at": "2020-01-01"}}',
  '{"user_id": "v", "message": "one", "alert": {"id": "v3", "channels": ["email"]}}']::jsonb[]);
ROLLBACK TO before;
SELECT pg_temp.error_of($$SELECT * FROM pgalert.deliver_alerts(ARRAY[
  '{"user_id": "v", "message": "one", "alert": {"id": "v1", "channels": ["email"]}}', '{"user_id": "v", "message": "", "alert": {"id": "v2"}}']::jsonb[])$$);
SELECT count(*) AS of_these_nothing FROM outbox WHERE alert_id LIKE 'v%';
ROLLBACK;

-- 2
TRUNCATE outbox, notifications, alert_deliveries, suppressed_alerts, alert_dlq, dedup_keys;
CREATE FUNCTION pg_temp.with_third(third jsonb) RETURNS jsonb[] LANGUAGE sql AS $$
  SELECT array_agg(CASE n WHEN 3 THEN third ELSE jsonb_build_object('user_id', 'u', 'message', 'm' || n, 'alert',
                     jsonb_build_object('id', 'a' || n, 'channels', '["inapp", "email"]'::jsonb)) END ORDER BY n)
  FROM generate_series(1, 5) n
$$;
\pset format unaligned
\pset tuples_only on
SELECT third, pg_temp.error_of(format('SELECT * FROM pgalert.deliver_alerts(pg_temp.with_third(%L))', third))
FROM (VALUES
  (NULL),
  ('[]'),
  ('{"alert": {"id": "x"}, "message": "m"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": ""}'),
  ('{"alert": {"id": "x", "channels": ["pigeon"]}, "user_id": "u", "message": "m"}'),
  ('{"alert": {"id": "x", "priority": "urgent"}, "user_id": "u", "message": "m"}'),
  ('{"alert": {"id": "x", "expires_at": "2030-02-31"}, "user_id": "u", "message": "m"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": "m", "dedup_window": "-1 day"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": "m", "dedup_window": "-100000000 years"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": "m", "dedup_window": "100000000 years"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": "m", "dedup_window": "a while"}'),
  ('{"alert": {"id": "x", "expires_at": "2030-02-28T99:00Z"}, "user_id": "u", "message": "m"}'),
  ('{"alert": {"id": "x"}, "user_id": "u", "message": 5}')) AS elements (third);
SELECT count(*) FROM pg_temp.rows();
-- The first of several, wherever it is, and however the array is numbered.
CREATE FUNCTION pg_temp.named(bad integer[], size integer, first integer DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  alerts jsonb[];
  detail text;
BEGIN
  FOR n IN 1 .. size LOOP
    alerts[n + first - 1] := jsonb_build_object('user_id', 'u', 'message', CASE WHEN n = ANY (bad) THEN '' ELSE 'm' || n END, 'alert', '{"id": "x"}'::jsonb);
  END LOOP;
  PERFORM pgalert.deliver_alerts(alerts);
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN split_part(detail, '.', 1);
END
$$;
SELECT pg_temp.named('{1}', 1), pg_temp.named('{1,2}', 2), pg_temp.named('{2}', 2), pg_temp.named('{7,9,10}', 10), pg_temp.named('{10}', 10), pg_temp.named('{3}', 5, 0), pg_temp.named('{3}', 5, 100);
-- Of 10,000 with a bad one at the end it takes no more than some times what it takes to read them.
SET statement_timeout = '10 s';
SELECT pg_temp.named('{10000}', 10000);
RESET statement_timeout;
