-- Deliveries are found in whichever segment they were written.
--   1. A segment begins when many deliveries were written, never without one; more of them in a second are numbered on.
--   2. A search since a time looks into the segment of that time, and those after it.
--   3. What was delivered in an earlier segment is a duplicate, is in the history, is found by user and by key.
--   4. A message that reached somebody in an earlier segment keeps its reservations when the rest of it fails for good.
--   5. Among 100,000 deliveries of 40 segments a search reads what it finds, and a step or two of each segment.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
CREATE FUNCTION pg_temp.roll() RETURNS void LANGUAGE sql AS 'SELECT pgalert._next_segment(100000000)';
CREATE FUNCTION pg_temp.segment() RETURNS bigint LANGUAGE sql AS 'SELECT last_value FROM pgalert.delivery_segment';

-- 1
SELECT pg_temp.segment() AS installed \gset
SELECT :installed BETWEEN _segment_at(clock_timestamp() - interval '1 hour') AND _segment_at(clock_timestamp()) AS of_now;
SELECT count(_next_segment(0)) FROM generate_series(1, 1000);
SELECT pg_temp.segment() = :installed AS the_same;
SELECT count(_next_segment(100000000)) FROM generate_series(1, 1000);
SELECT pg_temp.segment() >= :installed + 1000 AS numbered_on;
SELECT _segment_at('2000-01-01 00:01:00+00') AS minute, _segment_at('1900-01-01') AS least, _segment_at('infinity') AS most;

-- 2
BEGIN;
INSERT INTO alert_deliveries (alert_id, content_hash, delivery_methods, delivered_at, segment, delivery_key, attempt, priority, accepted_at)
SELECT 'old', 'h', '["email"]', at, _segment_at(at), _message_key(), 1, 'normal', at
FROM (SELECT now() - interval '10 days' * n AS at FROM generate_series(1, 5) n) s;
SELECT (now()::date - (timestamptz '2000-01-01 00:00:00+00' + s.segment * interval '1 second')::date) AS days_ago FROM _segments() s;
SELECT (now()::date - (timestamptz '2000-01-01 00:00:00+00' + s.segment * interval '1 second')::date) AS days_ago FROM _segments(now() - interval '25 days') s;
SELECT (now()::date - (timestamptz '2000-01-01 00:00:00+00' + s.segment * interval '1 second')::date) AS days_ago FROM _segments(now()) s;
SELECT count(*) AS of_no_time FROM _segments(NULL);
ROLLBACK;
SELECT count(*) AS of_no_deliveries FROM _segments();

-- 3
SELECT deliver_alert('{"id": "s1", "channels": ["email", "webhook"]}', 'u1', 'm1', interval '1 hour');
SELECT pg_temp.claim();
SELECT pg_temp.answer('s1', '{"email": "delivered", "webhook": "failed"}');
SELECT pg_temp.roll();
SELECT deliver_alert('{"id": "s2", "channels": ["inapp"]}', 'u1', 'm2'), pg_temp.roll();
SELECT track_delivery('s3', '{"message": "m3", "user_id": "u1"}', '["sms"]') IS NOT NULL AS tracked;
SELECT count(DISTINCT segment) FROM alert_deliveries;
DELETE FROM dedup_keys WHERE content_key IN (SELECT _content_key(compute_content_hash(NULL, m, 'u1'), NULL, NULL) FROM unnest('{m2,m3}'::text[]) m);
SELECT m, check_duplicate_delivery(compute_content_hash(NULL, m, 'u1')), check_duplicate_delivery(compute_content_hash(NULL, m, 'u1'), '0 s') AS not_by_now,
       check_duplicate_delivery(compute_content_hash(NULL, m, 'u1'), '100 years') AS ever
FROM unnest('{m1,m2,m3,m4}'::text[]) m;
SELECT event, channels FROM alert_history('s1', 'u1');
SELECT event, channels FROM alert_history('s2', 'u1');
SELECT alert_id FROM find_deliveries('{"user_id": "u1"}');
SELECT alert_id FROM find_deliveries('{"user_id": "u1", "newer_than": "1 minute", "alert_id": "s1"}');
SELECT alert_id FROM find_deliveries(jsonb_build_object('delivery_key', (SELECT delivery_key FROM alert_dlq WHERE alert_id = 's1')));
SELECT channel, outcome FROM delivery_attempts((SELECT delivery_key FROM alert_dlq WHERE alert_id = 's1'));

-- 4
SELECT deliver_alert('{"id": "s4", "channels": ["email", "webhook"]}', 'u1', 'm4');
SELECT pg_temp.claim();
SELECT pg_temp.answer('s4', '{"email": "failed", "webhook": "failed"}');
SELECT pg_temp.make_due('s1'), pg_temp.make_due('s4');
SELECT schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('s1', '{"webhook": "failed"}', '{"permanent": true}'), pg_temp.answer('s4', '{"email": "failed", "webhook": "failed"}', '{"permanent": true}');
SELECT alert_id, state, channels FROM alert_dlq ORDER BY 1, 3;
SELECT deliver_alert('{"id": "s1", "channels": ["email"]}', 'u1', 'm1') AS was_heard, deliver_alert('{"id": "s4", "channels": ["email"]}', 'u1', 'm4') AS was_not;

-- 5
CREATE PROCEDURE deliver_many() LANGUAGE plpgsql AS $$
BEGIN
  FOR part IN 1 .. 40 LOOP
    INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
    SELECT 'a' || n % 10, 'u' || part * 100000 + n, 'h' || part * 100000 + n, '["email"]', pgalert._message_key(), 1, 'normal', now() FROM generate_series(1, 2500) n;
    PERFORM pgalert._next_segment(100000000);
    COMMIT;
  END LOOP;
END
$$;
CALL deliver_many();
\i :srcdir/include/reads.sql
CALL measure($$SELECT pgalert.check_duplicate_delivery('h2000007', '1 year')$$, 100);
CALL measure($$SELECT pgalert.check_duplicate_delivery('none', '1 year')$$, 100);
CALL measure($$SELECT * FROM pgalert.alert_history('a7', 'u2000007')$$, 100);
CALL measure($$SELECT * FROM pgalert.find_deliveries('{"user_id": "u2000007"}')$$, 100);
CALL measure($$SELECT * FROM pgalert.delivery_attempts((SELECT delivery_key FROM pgalert.alert_dlq WHERE alert_id = 's1'))$$, 100);
CALL measure($$SELECT pgalert.remove_from_dlq((SELECT id FROM pgalert.alert_dlq WHERE alert_id = 's4' LIMIT 1))$$, 100);
