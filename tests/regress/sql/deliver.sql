-- What becomes of an alert that is fired.
--    1. Alerts in the new and in the legacy format, and rows of an application's own table, go where they say.
--    2. In-app is done in the caller's transaction; the inbox pages backwards and is marked read by its own user only.
--    3. What is rolled back, by transaction or savepoint, leaves nothing and reserves nothing.
--    4. The same content again is a duplicate, for the policy's or the call's window. A dedup_key stands for the content,
--       for its user alone.
--    5. A user hears of an alert daily_limit times a day: 1, N, or without limit. ('a', 'b/c') is not ('a/b', 'c').
--    6. A day ends at midnight in settings.time_zone, also where the clock changes.
--    7. What has expired already is not sent: a dead letter says so, and its keys stay free.
--    8. A suppressed alert is logged, and leaves no dead row and no lock in dedup_keys.
--    9. Keys are given back by who ended without having reached anybody; not by who reached somebody, not where they are
--       another's by now.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
SET timezone = 'UTC';
CREATE FUNCTION pg_temp.fire(alert text, message text, more jsonb DEFAULT '{}', user_id text DEFAULT 'u1', dedup_window interval DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email"]'::jsonb) || more, user_id, message, dedup_window)
$$;

-- 1
SELECT alert, deliver_alert(alert::jsonb, 'u1', 'm' || n)
FROM (VALUES
  (1, '{"id": "new1", "channels": {"email": true, "slack": true, "sms": false}}'),
  (2, '{"id": "new2", "channels": ["webhook", "inapp"]}'),
  (3, '{"id": "new3", "channels": ["inapp"], "name": "VIX", "priority": "high"}'),
  (4, '{"id": "new4", "channels": []}'),
  (5, '{"id": "old1"}'),
  (6, '{"id": "old2", "notify_inapp": true, "notify_email": true}'),
  (7, '{"id": "old3", "notify_inapp": false, "notify_email": true}'),
  (8, '{"id": "old4", "notify_inapp": false, "notify_email": false}'),
  (9, '{"id": 42, "channels": null, "notify_inapp": null, "notify_email": true}')) AS alerts (n, alert)
ORDER BY n;
CREATE TABLE watches (id bigint, name text, condition jsonb, notify_inapp boolean, notify_email boolean, created_at timestamptz, note text);
INSERT INTO watches VALUES (7, 'Oil above 100', '{"symbol": "CL", "above": 100}', false, true, '2024-01-01', NULL);
SELECT deliver_alert(to_jsonb(w), 'u1', 'oil is at 101') FROM watches w;
SELECT alert_id, lane, channels, delivered_channels, attempt, dlq_id, alert_data FROM outbox ORDER BY message_id;
SELECT alert_id, user_id, delivery_methods, attempt, priority FROM alert_deliveries ORDER BY alert_id;
SELECT compute_content_hash('{"symbol": "CL", "above": 100}', 'oil is at 101', 'u1') = content_hash AS identity_of_the_alert
FROM outbox WHERE alert_id = '7';
SELECT count(DISTINCT delivery_key) = count(*) AS keys_differ, bool_and(accepted_at = enqueued_at) AS times_agree FROM outbox;
SELECT deliver_alert('{"id": "t1", "channels": ["email"]}', 'u1', 'traced', NULL, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT traceparent FROM outbox WHERE alert_id = 't1';
-- A trace that cannot be followed costs no alert; of one of a later version what is known of it is kept.
SELECT given, deliver_alert(jsonb_build_object('id', 't2.' || n, 'channels', '["email"]'::jsonb), 'u1', 'parent ' || n, NULL, given)
FROM (VALUES (1, ''), (2, '00-zz-1-01'), (3, E'x\r\ny: z'), (4, '00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01'),
  (5, '00-00000000000000000000000000000000-b7ad6b7169203331-01'), (6, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra'),
  (7, '01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra')) AS t (n, given);
SELECT deliver_alert('{"id": "t2.8", "channels": ["email"], "expires_at": "2020-01-01"}', 'u1', 'parent 8', NULL, repeat('0', 100000));
SELECT alert_data ->> 'message' AS message, traceparent FROM outbox WHERE alert_id LIKE 't2.%'
UNION ALL SELECT alert_data ->> 'message', traceparent FROM alert_dlq WHERE alert_id LIKE 't2.%' ORDER BY 1;

-- 2
SELECT notification_id > 0 AS numbered, alert_id, alert_name, message, priority, read_at FROM inbox('u1');
SELECT string_agg(alert_id, ' ') FROM inbox('u1', max_rows => 2);
SELECT string_agg(i.alert_id, ' ') FROM inbox('u1', false, (SELECT min(notification_id) FROM inbox('u1', max_rows => 2))) i;
SELECT mark_read('u2', array_agg(notification_id)) FROM inbox('u1');
SELECT mark_read('u1', (SELECT array_agg(notification_id) FROM inbox('u1') WHERE alert_id = 'new2'));
SELECT string_agg(alert_id, ' ') FROM inbox('u1', unread_only => true);
SELECT mark_read('u1'), mark_read('u1');

-- 3
BEGIN;
SELECT pg_temp.fire('r1', 'undone'), pg_temp.fire('r2', 'undone, in-app', '{"channels": ["inapp"]}');
ROLLBACK;
BEGIN;
SAVEPOINT before;
SELECT pg_temp.fire('r1', 'undone');
ROLLBACK TO before;
SELECT pg_temp.fire('r1', 'undone');
COMMIT;
SELECT (SELECT count(*) FROM outbox WHERE alert_id IN ('r1', 'r2')) AS messages, (SELECT count(*) FROM inbox('u1') WHERE alert_id = 'r2') AS in_app;
SELECT pg_temp.fire('r2', 'undone, in-app', '{"channels": ["inapp"]}');

-- 4
INSERT INTO policies (name, daily_limit) VALUES ('often', NULL);
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('always', NULL, '0');
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('short', NULL, '1 hour');
SELECT pg_temp.fire('c1', 'same', '{"priority": "often"}'), pg_temp.fire('c1', 'same', '{"priority": "often"}') AS again,
       pg_temp.fire('c1', 'other', '{"priority": "often"}') AS other_message, pg_temp.fire('c1', 'same', '{"priority": "often"}', 'u2') AS other_user,
       pg_temp.fire('c1', 'same', '{"priority": "often", "condition": 1}') AS other_condition,
       pg_temp.fire('c2', 'same', '{"priority": "often"}') AS other_alert_same_content;
SELECT pg_temp.fire('c3', 'no window', '{"priority": "always"}'), pg_temp.fire('c3', 'no window', '{"priority": "always"}') AS again,
       pg_temp.fire('c3', 'no window', '{"priority": "always"}', dedup_window => '1 hour') AS first_with_window,
       pg_temp.fire('c3', 'no window', '{"priority": "always"}', dedup_window => '1 hour') AS second_with_window,
       pg_temp.fire('c3', 'no window', '{"priority": "often"}', dedup_window => '0') AS without_window,
       pg_temp.fire('c3', 'of a year', '{"priority": "always"}', dedup_window => '365 days') AS of_a_year;
SELECT pg_temp.fire('c4', 'hour', '{"priority": "short"}'), pg_temp.fire('c4', 'day', '{"priority": "often"}'),
       pg_temp.fire('c4', 'call', '{"priority": "often"}', dedup_window => '10 minutes');
SELECT o.alert_data ->> 'message' AS window, k.content_until - o.accepted_at AS kept_for
FROM outbox o JOIN dedup_keys k ON k.content_key = o.content_key AND k.owner = o.delivery_key WHERE o.alert_id = 'c4' ORDER BY 1;
UPDATE dedup_keys SET content_until = clock_timestamp() WHERE content_key = (SELECT content_key FROM outbox WHERE alert_data ->> 'message' = 'hour');
SELECT pg_temp.fire('c4', 'hour', '{"priority": "short"}') AS after_the_window, pg_temp.fire('c4', 'hour', '{"priority": "short"}') AS and_again;
SELECT pg_temp.fire('k1', 'one', '{"priority": "often", "dedup_key": "k"}'), pg_temp.fire('k1', 'two', '{"priority": "often", "dedup_key": "k"}') AS same_key,
       pg_temp.fire('k2', 'one', '{"priority": "often", "dedup_key": "k"}') AS same_key_other_alert,
       pg_temp.fire('k1', 'one', '{"priority": "often", "dedup_key": "l"}') AS same_content_other_key,
       pg_temp.fire('k1', 'one', '{"priority": "often", "dedup_key": "k"}', 'u2') AS same_key_other_user,
       pg_temp.fire('k1', 'one', '{"priority": "often"}') AS without_key;

-- 5
INSERT INTO policies (name, daily_limit) VALUES ('thrice', 3), ('most', 64);
SELECT string_agg(pg_temp.fire('d1', 'd' || n), ' ') AS once_a_day FROM generate_series(1, 3) n;
SELECT string_agg(pg_temp.fire('d2', 'e' || n, '{"priority": "thrice"}'), ' ') AS three_a_day FROM generate_series(1, 5) n;
SELECT string_agg(pg_temp.fire('d3', 'f' || n, '{"priority": "often"}'), ' ') AS without_limit FROM generate_series(1, 5) n;
SELECT status, count(*) FROM (SELECT pg_temp.fire('d4', 'g' || n, '{"priority": "most"}') AS status FROM generate_series(1, 70) n) f GROUP BY 1 ORDER BY 1;
SELECT pg_temp.fire('d1', 'd9', user_id => 'u2') AS other_user;
SELECT pg_temp.fire('d1', 'd1') AS duplicate_before_capped;
SET datestyle = 'German, DMY';
SELECT pg_temp.fire('d1', 'd10') AS the_same_day_in_another_style;
RESET datestyle;
SELECT pg_temp.fire('b/c', 'x', user_id => 'a') AS a_bc, pg_temp.fire('c', 'y', user_id => 'a/b') AS ab_c;
DELETE FROM dedup_keys WHERE day_key = (SELECT day_key FROM outbox WHERE alert_id = 'd2' AND alert_data ->> 'message' = 'e2');
SELECT string_agg(pg_temp.fire('d2', 'e' || n, '{"priority": "thrice"}'), ' ') AS the_place_of_one_that_ended FROM generate_series(6, 7) n;

-- 6: Kiritimati and Niue are 25 hours apart, so it is never the same day there
BEGIN;
SELECT set_setting('time_zone', 'Pacific/Kiritimati');
SELECT pg_temp.fire('z1', 'z1'), pg_temp.fire('z1', 'z2') AS same_day;
SELECT set_setting('time_zone', 'Pacific/Niue');
SELECT pg_temp.fire('z1', 'z3') AS other_day;
SELECT (k.day_until AT TIME ZONE 'Pacific/Niue')::time, k.day_until BETWEEN now() AND now() + interval '24 hours' AS within_a_day
FROM outbox o JOIN dedup_keys k ON k.day_key = o.day_key WHERE o.alert_data ->> 'message' = 'z3';
-- Zones where it is noon (so that an hour more or less is no other day): the clock goes forward there today, or back.
CREATE FUNCTION pg_temp.length_of_today(zone text) RETURNS interval LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pgalert.settings VALUES ('time_zone', zone) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
  RETURN (SELECT c.day_end - c.day::timestamp AT TIME ZONE zone FROM pgalert._delivery_context('normal') c);
END
$$;
SELECT pg_temp.length_of_today(format('STD%s', west)) AS ordinary,
       pg_temp.length_of_today(format('STD%sDST,%s/2,%s/2', west, today - 1, today % 365)) AS forward,
       pg_temp.length_of_today(format('STD%sDST,%s/2,%s/2', west, today % 365, today - 1)) AS back
FROM (SELECT now() AT TIME ZONE 'UTC', extract(hour FROM now() AT TIME ZONE 'UTC') - 12) u (utc, west),
     extract(doy FROM utc - make_interval(hours => west::integer)) today;
ROLLBACK;

-- 7
SELECT pg_temp.fire('x1', 'too late', '{"expires_at": "2020-01-01T00:00:00Z"}'), pg_temp.fire('x1', 'too late', '{"expires_at": "2020-01-01"}') AS again,
       pg_temp.fire('x1', 'too late', '{"channels": ["inapp"], "expires_at": "2020-01-01"}') AS in_app;
SELECT * FROM pg_temp.dead_letters('x1');
SELECT pg_temp.fire('x1', 'too late', '{"expires_at": "2100-01-01T00:00:00+02:00"}') AS in_time;
SELECT expires_at = '2100-01-01 00:00+02' AS expires FROM outbox WHERE alert_id = 'x1';
SELECT count(*) FROM inbox('u1') WHERE alert_id = 'x1';
SELECT deliver_alert(to_jsonb(w), 'u1', id) FROM (VALUES ('x2', true, timestamptz 'infinity'), ('x3', true, '-infinity')) AS w (id, notify_email, expires_at);

-- 8
TRUNCATE suppressed_alerts;
BEGIN;
SELECT pg_temp.fire('s1', 'once');
COMMIT;
SELECT ctid AS content_at, xmin AS content_by FROM dedup_keys WHERE content_key = (SELECT content_key FROM outbox WHERE alert_id = 's1') \gset
CREATE VIEW written AS
SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) AS rows FROM pg_stat_xact_user_tables
WHERE schemaname = 'pgalert' AND relname NOT LIKE 'suppressed_alerts%';
BEGIN;
SELECT rows AS rows_before FROM written \gset
SELECT pg_temp.fire('s1', 'once'), pg_temp.fire('s1', 'another'), pg_temp.fire('s1', 'once'), pg_temp.fire('s2', 'once') AS by_another_alert;
SELECT rows - :rows_before AS rows_written FROM written;
COMMIT;
SELECT k.ctid = :'content_at' AND k.xmin = :'content_by' AS untouched, k.xmax FROM dedup_keys k WHERE k.content_key = (SELECT content_key FROM outbox WHERE alert_id = 's1');
SELECT s.alert_id, s.user_id, s.reason, s.content_hash = o.content_hash AS same_content FROM suppressed_alerts s, outbox o WHERE o.alert_id = 's1' ORDER BY suppressed_at;

-- 9
CREATE FUNCTION pg_temp.keys_of(alert text) RETURNS bigint LANGUAGE sql AS $$
  SELECT count(k.content_key) + count(k.day_key) FROM pgalert.dedup_keys k JOIN (SELECT DISTINCT delivery_key FROM claimed WHERE alert_id = alert) c ON k.owner = c.delivery_key
$$;
INSERT INTO policies (name, retry_schedule) VALUES ('no_retry', '{}'), ('one_retry', '{1 minute}');
TRUNCATE outbox;
SELECT pg_temp.fire('g1', 'end of g1', '{"priority": "no_retry"}') AS exhausted, pg_temp.fire('g2', 'end of g2') AS permanent,
       pg_temp.fire('g3', 'end of g3', '{"channels": ["email", "sms"]}') AS partly, pg_temp.fire('g4', 'end of g4', '{"channels": ["email", "inapp"]}') AS in_app,
       pg_temp.fire('g5', 'end of g5') AS removed, pg_temp.fire('g6', 'end of g6') AS anothers, pg_temp.fire('g7', 'end of g7', '{"priority": "one_retry"}') AS retried,
       pg_temp.fire('g8', 'end of g8') AS waits;
SELECT pg_temp.claim();
SELECT pg_temp.answer('g1', '{"email": "failed"}'), pg_temp.answer('g2', '{"email": "failed"}', '{"permanent": true}'),
       pg_temp.answer('g3', '{"email": "failed", "sms": "delivered"}', '{"permanent": true}'),
       pg_temp.answer('g4', '{"email": "failed"}', '{"permanent": true}'),
       pg_temp.answer('g5', '{"email": "failed"}'), pg_temp.answer('g6', '{"email": "failed"}'), pg_temp.answer('g7', '{"email": "failed"}'),
       pg_temp.answer('g8', '{"email": "failed"}');
SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'g5';
SELECT a AS alert, pg_temp.keys_of(a) AS keys FROM unnest('{g1,g2,g3,g4,g5,g6,g7,g8}'::text[]) a;
-- g6: its window ends while it waits, the next message takes the content's key; then the first one ends.
UPDATE dedup_keys SET content_until = clock_timestamp(), day_until = clock_timestamp() WHERE owner IN (SELECT delivery_key FROM claimed WHERE alert_id = 'g6');
SELECT pg_temp.fire('g6', 'end of g6') AS the_next_message;
SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'g6';
SELECT pg_temp.fire('g6', 'end of g6') AS still_the_next_messages;
-- g7: its retry fails and exhausts it.
SELECT pg_temp.make_due('g7'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('g7', '{"email": "failed"}');
SELECT a AS alert, pg_temp.keys_of(a) AS keys FROM unnest('{g6,g7}'::text[]) a;
SELECT pg_temp.fire('g1', 'end of g1', '{"priority": "no_retry"}') AS exhausted, pg_temp.fire('g2', 'end of g2') AS permanent, pg_temp.fire('g3', 'end of g3') AS partly,
       pg_temp.fire('g4', 'end of g4') AS in_app, pg_temp.fire('g5', 'end of g5') AS removed, pg_temp.fire('g7', 'end of g7') AS retried, pg_temp.fire('g8', 'end of g8') AS waits;
-- Expired while it waited in the queue, and while it waited for its retry.
TRUNCATE outbox;
SELECT pg_temp.fire('g9', 'end of g9', jsonb_build_object('expires_at', clock_timestamp() + interval '1 hour')),
       pg_temp.fire('g10', 'end of g10', jsonb_build_object('expires_at', clock_timestamp() + interval '1 hour'));
UPDATE outbox SET expires_at = clock_timestamp() WHERE alert_id = 'g9';
SELECT pg_temp.claim();
SELECT pg_temp.answer('g10', '{"email": "failed"}');
UPDATE alert_dlq SET expires_at = clock_timestamp() WHERE alert_id = 'g10';
SELECT pg_temp.make_due('g10'), schedule_retries();
SELECT alert_id, state, channels FROM alert_dlq WHERE alert_id IN ('g9', 'g10') ORDER BY alert_id;
SELECT pg_temp.fire('g9', 'end of g9'), pg_temp.fire('g10', 'end of g10');
