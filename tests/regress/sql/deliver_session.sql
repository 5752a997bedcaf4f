-- What a session keeps from one firing to the next: plans, and the form of the row in which an alert was read.
--   1. A firing sees what was set since the last one: policies, the time zone, channels.
--   2. It goes on when its tables were changed, by every role that may fire, and in every isolation level.
--   3. It goes on when the extension was dropped and created again.
--   4. Built-in policies are the same to a firing as to those who look at them.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
CREATE FUNCTION pg_temp.fire(id text, message text, channel text DEFAULT 'email', priority text DEFAULT 'normal') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', id, 'channels', jsonb_build_array(channel), 'priority', priority), 'u1', message)
$$;
SELECT pg_temp.fire('a', 'a1'), pg_temp.fire('a', 'a1') AS again, pg_temp.fire('a', 'a2') AS full_day;

-- 1
INSERT INTO policies (name, daily_limit, lane) VALUES ('normal', 2, 'low');
SELECT pg_temp.fire('a', 'a2') AS two_a_day, pg_temp.fire('a', 'a3') AS full_day;
UPDATE policies SET dedup_window = '0', daily_limit = NULL WHERE name = 'normal';
SELECT pg_temp.fire('a', 'a1') AS without_limits, pg_temp.fire('a', 'a1') AS again;
DELETE FROM policies;
SELECT pg_temp.fire('a', 'a1') AS limited_again;
SELECT lane, day_key IS NULL AS without_day, content_key IS NULL AS without_content FROM outbox ORDER BY message_id;
SELECT pg_temp.error_of('SELECT pg_temp.fire(''b'', ''b1'', ''pagerduty'')');
SELECT add_channel('pagerduty'), pg_temp.fire('b', 'b1', 'pagerduty');
SELECT remove_channel('pagerduty');
SELECT pg_temp.error_of('SELECT pg_temp.fire(''b'', ''b2'', ''pagerduty'')');
SELECT pg_temp.error_of('SELECT pg_temp.fire(''b'', ''b1'', ''email'', ''urgent'')');

-- 2
ALTER TABLE outbox ADD COLUMN note text;
ALTER TABLE dedup_keys SET (fillfactor = 90);
REINDEX INDEX dedup_keys_content;
SELECT pg_temp.fire('c', 'c1'), pg_temp.fire('c', 'c1') AS again;
ALTER TABLE outbox DROP COLUMN note;
SET ROLE pgalert_producer;
SELECT pgalert.deliver_alert('{"id": "d", "channels": ["email"]}', 'u1', 'd1'), pgalert.deliver_alert('{"id": "d", "channels": ["email"]}', 'u1', 'd1') AS again;
RESET ROLE;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.fire('e', 'e1'), pg_temp.fire('e', 'e1') AS again, pg_temp.fire('e', 'e2') AS full_day;
SAVEPOINT before;
SELECT pg_temp.fire('f', 'f1');
ROLLBACK TO before;
SELECT pg_temp.fire('f', 'f1') AS after_it_was_undone;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.fire('f', 'f1') AS known, pg_temp.fire('g', 'g1');
COMMIT;
SELECT alert_id, count(*) FROM outbox WHERE alert_id >= 'c' GROUP BY 1 ORDER BY 1;

-- 3
DROP EXTENSION pgalert;
CREATE EXTENSION pgalert;
SELECT pg_temp.fire('a', 'a1'), pg_temp.fire('a', 'a1') AS again, pg_temp.fire('a', 'a2') AS full_day;
SELECT alert_id, channels, lane FROM outbox;

-- 4
TRUNCATE outbox;
SELECT * FROM all_policies ORDER BY lane;
SELECT pg_temp.fire('p' || p.name, p.name, 'email', p.name) FROM all_policies p ORDER BY p.name;
SELECT o.priority, o.lane = _lane_number(p.lane) AS same_lane, k.content_until - o.accepted_at = p.dedup_window AS same_window,
       k.day_key = (_day_keys(o.user_id, o.alert_id, to_char(o.accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), p.daily_limit))[1] AS same_day,
       cardinality(_day_keys(o.user_id, o.alert_id, '2026-01-01', p.daily_limit)) AS a_day
FROM outbox o JOIN all_policies p ON p.name = o.priority JOIN dedup_keys k ON k.owner = o.delivery_key ORDER BY 1;
