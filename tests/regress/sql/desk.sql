-- A person's desk for dead letters, in SQL.
--   1. Lists and counts by a filter, by key in each order; what is no filter is refused.
--   2. retry_now gives one more attempt, once; an exhausted letter that fails again is exhausted, with its count and the new error.
--   3. An automatic retry is cancelled by it; an expiry that has passed is lifted; no dedup key blocks it.
--   4. retry_matching and discard_matching act on what matches and is not queued, in parts.
--   5. discard gives the keys back, wants a reason, and leaves a queued letter alone.
--   6. edit_dead_letter changes what is sent; what does not fit changes nothing.
--   7. A gradual retry goes 1 %, 10 %, all, waits for each step, and stops when too many fail.
--   8. Attempts, groups of errors, deliveries, recipients. A group is found whole by what names it, and nothing else is.
--   9. Where deliveries are looked through without a match, the last row says where to go on: nothing is missed, in either direction.
--  10. operator_log says who, what and why, and holds no text of a message; list_actions() pages and filters it.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
\i :srcdir/include/published.sql
INSERT INTO policies (name, retry_schedule, daily_limit) VALUES ('once', '{10 minutes}', NULL);
CREATE FUNCTION pg_temp.fire(alert text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'name', 'Name of ' || alert, 'channels', '["email"]'::jsonb, 'priority', 'once') || more, 'u1', 'secret text of ' || alert)
$$;
CREATE FUNCTION pg_temp.letter(alert text) RETURNS uuid LANGUAGE sql AS $$ SELECT id FROM pgalert.alert_dlq WHERE alert_id = alert $$;
CREATE FUNCTION pg_temp.shown(alert text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', state, retry_count, error_class, error_message, CASE WHEN next_retry_at IS NOT NULL THEN 'due' END) FROM pgalert.alert_dlq WHERE alert_id = alert
$$;
CREATE FUNCTION pg_temp.lose(alert text, error text, more jsonb DEFAULT '{}') RETURNS integer LANGUAGE sql AS $$
  SELECT pg_temp.answer(alert, '{"email": "failed"}', jsonb_build_object('error_class', 'smtp.5xx', 'error', error, 'host', 'mail.example.com') || more)
$$;
SELECT add_recipient('u1', 'email', 'u1@example.com') AS recipient \gset

-- 1
SELECT count(pg_temp.fire('a' || n)) FROM generate_series(1, 6) n;
SELECT pg_temp.claim();
SELECT pg_temp.lose('a' || n, format('550 5.1.1 <u%s@example.com> unknown (id %s)', n, 1000 + n), CASE WHEN n > 3 THEN '{"permanent": true}' ELSE '{}' END::jsonb) FROM generate_series(1, 6) n;
SELECT alert_id, user_id, alert_name, channels, state, error_class, error_message, retry_count, next_retry_at IS NOT NULL AS due, priority FROM list_dead_letters();
SELECT alert_id FROM list_dead_letters('{}', 'oldest', NULL, 4);
SELECT cursor AS after FROM list_dead_letters('{}', 'oldest', NULL, 4) OFFSET 3 \gset
SELECT alert_id FROM list_dead_letters('{}', 'oldest', :'after');
SELECT alert_id FROM list_dead_letters('{}', 'newest', :'after');
UPDATE alert_dlq SET next_retry_at = next_retry_at + interval '1 minute' WHERE alert_id = 'a1';
SELECT alert_id FROM list_dead_letters('{}', 'next_retry', NULL, 2);
SELECT cursor AS after FROM list_dead_letters('{}', 'next_retry', NULL, 2) OFFSET 1 \gset
SELECT alert_id FROM list_dead_letters('{}', 'next_retry', :'after');
SET timezone = 'Asia/Kolkata';  -- its IST is read as Israel's
SELECT alert_id FROM list_dead_letters('{}', 'next_retry', :'after');
RESET timezone;
SELECT f.filter, count_matching(f.filter), (SELECT count(*) FROM list_dead_letters(f.filter)) AS listed FROM (VALUES
  (1, '{}'::jsonb), (2, '{"state": "permanent"}'), (3, '{"state": ["permanent", "waiting"]}'), (4, '{"channel": "email"}'), (5, '{"channel": "sms"}'),
  (6, '{"error_class": ["smtp.5xx", "dns"]}'), (7, '{"host": "mail.example.com", "state": "waiting"}'), (8, '{"host": "other"}'), (9, '{"alert_id": "a2"}'),
  (10, '{"user_id": "u1", "newer_than": "1 hour"}'), (11, '{"older_than": "1 hour"}'), (12, '{"last_retry_before": "2000-01-01"}'),
  (13, '{"error_group": "email: 550 5.1.1 <<address>> unknown (id <n>)"}'), (14, '{"ids": []}'), (16, '{"created_before": "2000-01-01"}'), (17, '{"created_after": "2000-01-01"}'),
  (18, '{"channels": "email"}'), (19, '{"channels": "email,sms"}'), (20, '{"host": "-"}'), (21, '{"channels": "email", "user_id": "u1"}'), (15, '{"user_id": "'' OR true --"}')) AS f (n, filter) ORDER BY n;
SELECT count_matching('{}', 2), count_matching('{"user_id": "u1"}', 2);
SELECT pg_temp.error_of(format('SELECT pgalert.count_matching(%L)', f)) FROM (VALUES (1, NULL), (2, '[]'), (3, '{"stat": "x"}'), (4, '{"state": "lost"}'), (5, '{"state": 1}'),
  (6, '{"state": ["waiting", null]}'), (7, '{"alert_id": ["a"]}'), (8, '{"ids": ["a"]}'), (9, '{"older_than": "soon"}'), (10, '{"created_before": "soon"}')) AS f (n, f) ORDER BY n;
SELECT pg_temp.error_of(call) FROM (VALUES (1, $$SELECT pgalert.list_dead_letters('{}', 'biggest')$$), (2, $$SELECT pgalert.list_dead_letters('{}', NULL)$$), (3, $$SELECT pgalert.list_dead_letters('{}', 'newest', NULL, 0)$$),
  (4, $$SELECT pgalert.list_dead_letters('{}', 'newest', '{"id": "x"}')$$), (5, $$SELECT pgalert.dead_letter(NULL)$$),
  (6, $$SELECT pgalert.list_dead_letters('{}', 'next_retry', '{"id": "0198c8a0-0000-7000-8000-000000000000"}')$$), (7, $$SELECT pgalert.find_deliveries('{}', '{"id": 1}')$$),
  (8, $$SELECT pgalert.list_actions('{}', '[]')$$)) AS v (n, call) ORDER BY n;
SELECT alert_id, state, message, recipients #- '{0,recipient_id}' AS recipients, alert_data ->> 'name' AS name, host FROM dead_letter(pg_temp.letter('a1'));

-- 2
SELECT pg_temp.make_due('a1'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.lose('a1', 'no');
SELECT pg_temp.shown('a1');
SELECT pg_temp.make_due('a1'), schedule_retries();
SELECT retry_now(pg_temp.letter('a1'), 'the server was mended'), retry_now(pg_temp.letter('a1'));
SELECT pg_temp.claim(), (SELECT attempt FROM claimed ORDER BY n DESC LIMIT 1);
SELECT pg_temp.lose('a1', 'still no');
SELECT pg_temp.shown('a1');
SELECT retry_now(pg_temp.letter('a1'));
SELECT pg_temp.claim();
SELECT pg_temp.answer('a1', '{"email": "delivered"}');
SELECT pg_temp.shown('a1'), (SELECT attempt FROM alert_deliveries WHERE alert_id = 'a1');
SELECT pg_temp.error_of($$SELECT pgalert.retry_now('00000000-0000-0000-0000-000000000000')$$), pg_temp.error_of($$SELECT pgalert.retry_now(NULL)$$);

-- 3
SELECT pg_temp.shown('a2');
SELECT retry_now(pg_temp.letter('a2'));
SELECT pg_temp.shown('a2'), pg_temp.make_due('a2'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('a2', '{"email": "delivered"}');
SELECT pg_temp.fire('late', '{"expires_at": "2020-01-01"}');
SELECT pg_temp.fire('late') AS is_free;
SELECT pg_temp.claim(), pg_temp.answer('late', '{"email": "delivered"}');
SELECT pg_temp.fire('late') AS is_taken, retry_now(pg_temp.letter('late'));
SELECT pg_temp.claim(), pg_temp.answer('late', '{"email": "delivered"}');
-- What the inbox was owed is delivered at once, the rest is queued.
SELECT pg_temp.fire('late2', '{"expires_at": "2020-01-01", "channels": ["inapp"]}'), pg_temp.fire('late3', '{"expires_at": "2020-01-01", "channels": ["inapp", "email"]}');
SELECT retry_now(pg_temp.letter('late2')), retry_now(pg_temp.letter('late3'));
SELECT count(*) AS left_of_it FROM alert_dlq WHERE alert_id = 'late2';
SELECT pg_temp.claim(), pg_temp.answer('late3', '{"email": "failed"}', '{"permanent": true}');
SELECT pg_temp.shown('late3'), channels FROM alert_dlq WHERE alert_id = 'late3';
SELECT a AS alert, r.* FROM unnest('{late2,late3}'::text[]) a, pg_temp.reached(a) r;
SELECT alert_id, message FROM inbox('u1') WHERE alert_id LIKE 'late_' ORDER BY 1;
SELECT discard(pg_temp.letter('late3'), 'seen in the inbox');
SELECT pg_temp.fire('late4', '{"expires_at": "2020-01-01", "channels": ["inapp", "email"]}');
SELECT edit_dead_letter(pg_temp.letter('late4'), '{"channels": ["inapp", "sms"]}') AS keeps_the_inbox;
SELECT channels FROM alert_dlq WHERE alert_id = 'late4';
SELECT discard(pg_temp.letter('late4'), 'enough of it');

-- 4
SELECT retry_matching('{"state": "permanent"}', 2, 'a part'), retry_matching('{"state": "permanent"}', 2, 'the rest'), retry_matching('{"state": "permanent"}', 2);
SELECT alert_id, state FROM list_dead_letters('{}', 'oldest');
SELECT discard_matching('{}', 1000, 'the queued ones stay');
SELECT * FROM dlq_states;
SELECT pg_temp.claim();
SELECT pg_temp.lose('a' || n, 'no') FROM generate_series(4, 6) n;
SELECT pg_temp.error_of(call) FROM (VALUES (1, $$SELECT pgalert.retry_matching('{}', 0)$$), (2, $$SELECT pgalert.retry_matching(NULL)$$), (3, $$SELECT pgalert.discard_matching('{}', 10, NULL)$$),
  (4, $$SELECT pgalert.discard_matching('{}', 10, '')$$), (5, $$SELECT pgalert.discard_matching('{"x": "y"}', 10, 'r')$$)) AS v (n, call) ORDER BY n;

-- 5
SELECT pg_temp.fire('a4') AS taken;
SELECT discard(pg_temp.letter('a4'), 'sent by telephone'), pg_temp.fire('a4') AS free_again;
SELECT discard('00000000-0000-0000-0000-000000000000', 'r'), pg_temp.error_of($$SELECT pgalert.discard('00000000-0000-0000-0000-000000000000', '')$$);
SELECT retry_now(pg_temp.letter('a5'));
SELECT pg_temp.error_of(format('SELECT pgalert.%s', call)) ~ '^55000.* is queued' AS refused
FROM (VALUES (format('discard(%L, %L)', pg_temp.letter('a5'), 'r')), (format('edit_dead_letter(%L, %L)', pg_temp.letter('a5'), '{"message": "m"}'))) AS v (call);

-- 6
SELECT edit_dead_letter(pg_temp.letter('a6'), jsonb_build_object('message', 'another text', 'channels', '["email", "sms"]'::jsonb, 'address', jsonb_build_object(:'recipient', 'new@example.com')), 'typo');
SELECT message, channels, recipients #>> '{0,address}' AS address FROM dead_letter(pg_temp.letter('a6'));
SELECT regexp_replace(pg_temp.error_of(format('SELECT pgalert.edit_dead_letter(%L, %L)', pg_temp.letter('a6'), c)), :'recipient', 'R') FROM (VALUES (1, NULL), (2, '{}'), (3, '{"state": "waiting"}'), (4, '{"message": ""}'), (5, '{"message": 1}'),
  (6, '{"alert_data": []}'), (7, '{"alert_data": {"message": "m", "user_id": "u2"}}'), (8, '{"channels": ["inapp"]}'), (9, '{"channels": []}'), (10, '{"channels": ["nosuch"]}'),
  (11, '{"address": {"1000000": "a@b.c"}}'), (12, '{"address": ["a"]}'), (13, format('{"address": {"%s": "a\nb"}}', :recipient)), (14, '[1]')) AS v (n, c) ORDER BY n;
SELECT add_recipient('u1', 'email', 'second@example.com') AS second \gset
SELECT pg_temp.error_of(format('SELECT pgalert.edit_dead_letter(%L, %L)', pg_temp.letter('a6'), jsonb_build_object('address', jsonb_build_object(:'second', 'new@example.com')))), remove_recipient(:second);
SELECT message, channels, recipients #>> '{0,address}' AS address FROM dead_letter(pg_temp.letter('a6'));
SELECT pg_temp.error_of($$SELECT pgalert.edit_dead_letter('00000000-0000-0000-0000-000000000000', '{"message": "m"}')$$);

-- 7
SELECT pg_temp.claim(1000), pg_temp.answer('a5', '{"email": "delivered"}'), pg_temp.answer('a4', '{"email": "delivered"}'), discard_matching('{}', 100, 'clean') AS discarded;
SELECT count(push_to_dlq('g' || n, '{"notify_email": true, "message": "m", "user_id": "u1"}', 'down')) FROM generate_series(1, 200) n;
CREATE FUNCTION pg_temp.work(share_failed double precision) RETURNS TABLE (claimed bigint, failed bigint) LANGUAGE sql AS $$
  WITH batch AS MATERIALIZED (SELECT b.claim_id, b.delivery_key, row_number() OVER (ORDER BY b.message_id) <= share_failed * count(*) OVER () AS fails
                              FROM pgalert.claim_batch('w9', 1000, '1 hour') b),
  told AS (SELECT pgalert.report(min(b.claim_id), 'w9', jsonb_agg(jsonb_build_object('delivery_key', b.delivery_key, 'channel', 'email', 'outcome', CASE WHEN b.fails THEN 'failed' ELSE 'delivered' END))) AS n FROM batch b)
  SELECT n, (SELECT count(*) FROM batch WHERE fails) FROM told
$$;
CREATE VIEW pg_temp.gradual AS SELECT total, step, queued, delivered, failed, state, ended_at IS NOT NULL AS ended FROM list_gradual_retries(1);
SELECT retry_gradually('{"error_class": "reported"}', 0.5, 'carefully') AS gradual \gset
SELECT * FROM pg_temp.gradual;
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.work(0.5);
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT * FROM pg_temp.work(0.5);
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT * FROM pg_temp.work(0);
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT advance_gradual_retries(), count_matching('{}');
SELECT retry_gradually('{}', 0.5) IS NOT NULL AS begun;
SELECT * FROM pg_temp.work(1);
SELECT maintain() ? 'dedup_keys_purged' AS maintained;
SELECT * FROM pg_temp.gradual;
SELECT retry_gradually('{}') AS gradual \gset
SELECT stop_gradual_retry(:gradual, 'wrong ones'), stop_gradual_retry(:gradual), stop_gradual_retry(-1);
SELECT * FROM pg_temp.gradual;
-- What was meant stays what is meant: letters that come later are none of it, and ages have become times.
SELECT pg_temp.work(1);
SELECT retry_gradually('{"newer_than": "1 hour"}', 0.5) AS gradual \gset
SELECT filter ?& '{created_before,created_after,last_retry_before}' AS times, filter ?| '{newer_than,older_than}' AS ages FROM gradual_retries WHERE id = :gradual;
SELECT count(push_to_dlq('h' || n, '{"notify_email": true, "message": "m", "user_id": "u1"}', 'down')) FROM generate_series(1, 5) n;
SELECT pg_temp.work(0), advance_gradual_retries();
SELECT pg_temp.work(0), advance_gradual_retries();
SELECT pg_temp.work(0), advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT state, letters FROM dlq_states WHERE letters > 0;
-- One that a person removes was not delivered.
SELECT retry_gradually('{}', 0.5) AS gradual \gset
SELECT pg_temp.work(1), discard_matching((SELECT jsonb_build_object('ids', step_letters) FROM gradual_retries WHERE id = :gradual), 10, 'r');
SELECT advance_gradual_retries();
SELECT * FROM pg_temp.gradual;
SELECT retry_matching('{}');
SELECT pg_temp.work(1);
SELECT pg_temp.error_of(call) FROM (VALUES (1, $$SELECT pgalert.retry_gradually('{}', 2)$$), (2, $$SELECT pgalert.retry_gradually('{}', NULL)$$), (3, $$SELECT pgalert.retry_gradually('{"x": "y"}')$$), (4, $$SELECT pgalert.list_gradual_retries(0)$$)) AS v (n, call) ORDER BY n;

-- 8
SELECT attempt, channel, outcome, error_class, error, host FROM delivery_attempts((SELECT delivery_key FROM alert_deliveries WHERE alert_id = 'a1'));
SELECT count(*) AS never_failed FROM delivery_attempts((SELECT delivery_key FROM alert_deliveries WHERE alert_id = 'late' ORDER BY id LIMIT 1));
SELECT count(*) FROM delivery_attempts('00000000-0000-0000-0000-000000000000');
SELECT error_class, channel, host, error_group, letters, jsonb_array_length(per_hour) > 0 AS timed FROM error_groups();
SELECT error_class, error_group, letters FROM error_groups('{"user_id": "u1"}');
SELECT count(*) FROM error_groups('{"state": "permanent"}');
SELECT alert_id, delivery_methods, attempt, seconds >= 0 AS timed FROM find_deliveries('{"user_id": "u1"}', NULL, 3);
SELECT f, (SELECT string_agg(DISTINCT alert_id, ' ') FROM find_deliveries(f::jsonb || '{"newer_than": "1 hour"}')) FROM unnest('{"{\"alert_id\": \"a1\"}","{\"user_id\": \"u1\", \"alert_id\": \"a2\"}","{\"channel\": \"sms\"}","{\"user_id\": \"nobody\"}"}'::text[]) f;
SELECT count(*) FROM find_deliveries(jsonb_build_object('delivery_key', (SELECT delivery_key FROM alert_deliveries WHERE alert_id = 'a2')));
SELECT pg_temp.error_of($$SELECT pgalert.find_deliveries('{"state": "x"}')$$), pg_temp.error_of($$SELECT pgalert.find_deliveries('{"delivery_key": "x"}')$$);
SELECT user_id, channel, address, failures_24h, last_error_class FROM recipient_health('u1');
SELECT count(*) FROM recipient_health(NULL, :recipient);

CREATE FUNCTION pg_temp.lost(alert text, channels text[], error text, host text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash, delivery_key, accepted_at, host)
  VALUES (alert, 'u2', '{}', error, 'group', 'exhausted', channels, 'normal', 'h', gen_random_uuid(), now(), host)
$$;
SELECT pg_temp.lost('k1', '{email,sms}', 'no', 'h'), pg_temp.lost('k2', '{email}', 'no', 'h'), pg_temp.lost('k3', '{email,sms,slack}', 'no', 'h'), pg_temp.lost('k4', '{email}', 'no', NULL), pg_temp.lost('k5', '{email}', '', NULL), pg_temp.lost('k6', '{}', 'no', NULL);
SELECT g.channel, g.host, g.error_group, g.letters, count_matching(f.filter) AS counted, (SELECT string_agg(l.alert_id, ' ') FROM list_dead_letters(f.filter) l) AS listed
FROM error_groups('{"error_class": "group"}') g
CROSS JOIN LATERAL (SELECT jsonb_build_object('error_class', g.error_class, 'channels', coalesce(nullif(g.channel, ''), '-'), 'host', coalesce(g.host, '-'), 'error_group', g.error_group) AS filter) f
ORDER BY 1, 2, 3;
SELECT discard_matching('{"error_class": "group"}', 10, 'of the test');

-- 9
INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
SELECT 'f' || n, 'u' || n, 'h', CASE n % 20 WHEN 3 THEN '["sms"]' ELSE '["email"]' END::jsonb, _message_key(), 1, 'normal', now() FROM generate_series(1, 60) n;
CREATE PROCEDURE pg_temp.page_through(filter jsonb, max_rows integer, looked_at integer) LANGUAGE plpgsql AS $$
DECLARE
  page record;
  after jsonb;
BEGIN
  LOOP
    SELECT string_agg(f.alert_id, ' ') AS alerts, count(*) AS rows, count(*) FILTER (WHERE f.id IS NULL AND f.delivered_at IS NOT NULL) AS to_go_on, (array_agg(f.cursor))[count(*)] AS cursor
    INTO page FROM pgalert._find_deliveries(filter, after, max_rows, looked_at) f;
    RAISE NOTICE '%, %', coalesce(page.alerts, 'nothing'), CASE WHEN page.to_go_on = 1 THEN 'looked on' WHEN page.rows < max_rows THEN 'the end' ELSE 'a full page' END;
    EXIT WHEN page.rows < max_rows AND page.to_go_on = 0;
    after := page.cursor;
  END LOOP;
END
$$;
CALL pg_temp.page_through('{"channel": "sms"}', 2, 16);
CALL pg_temp.page_through('{"channel": "sms", "newer_than": "1 hour"}', 50, 45);
CALL pg_temp.page_through('{"channel": "sms", "older_than": "1 hour"}', 50, 200);
CALL pg_temp.page_through('{"user_id": "u43"}', 50, 1);
SELECT delivery_key AS key FROM alert_deliveries WHERE alert_id = 'f43' \gset
CALL pg_temp.page_through(jsonb_build_object('delivery_key', :'key'), 50, 100);
-- A message that waited for long: made before the others were delivered, and delivered last.
UPDATE alert_deliveries SET delivery_key = _least_id(delivered_at - interval '10 minutes') WHERE alert_id = 'f60' RETURNING delivery_key AS key \gset
CALL pg_temp.page_through(jsonb_build_object('delivery_key', :'key'), 50, 25);
-- Ids of an age that has passed are not looked at; of one that is to come, no more than that.
UPDATE alert_deliveries SET delivered_at = delivered_at - interval '2 days', id = ('00' || right(id::text, -2))::uuid WHERE alert_id IN ('f3', 'f4');
CALL pg_temp.page_through('{"channel": "sms", "older_than": "1 day"}', 50, 2);
CALL pg_temp.page_through('{"channel": "sms", "newer_than": "1 day"}', 50, 100);
SELECT _least_id('2026-01-31 12:00:00.5+00'), _least_id('infinity'), _least_id('-infinity'), _least_id(now() - interval '1 minute') < _message_key() AS before, _least_id(now() + interval '1 minute') > _message_key() AS after;
DELETE FROM alert_deliveries WHERE alert_id LIKE 'f%';

-- 10
SELECT operator = session_user AS by_the_session, action, letters, reason, detail - 'id' AS detail FROM operator_log ORDER BY id LIMIT 6;
BEGIN;
SELECT set_config('pgalert.operator', 'grace', true);
SELECT discard((SELECT id FROM alert_dlq WHERE state <> 'queued' ORDER BY id LIMIT 1), 'why not');
COMMIT;
SELECT operator, action, reason FROM operator_log ORDER BY id DESC LIMIT 1;
SELECT count(*) AS with_text FROM operator_log o WHERE o::text ~ 'secret text|another text';
SELECT operator = session_user AS by_the_session, action, letters, reason, matching - 'ids' AS matching, detail - 'id' AS detail, at IS NOT NULL AS timed FROM list_actions('{}', NULL, 1000) WHERE action <> 'edit' OFFSET 1 LIMIT 3;
SELECT action, reason FROM list_actions('{"operator": "grace"}');
SELECT action, count(*) FROM list_actions('{"action": ["edit", "stop_gradual_retry"]}') GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM list_actions('{"operator": "nobody"}');
SELECT count(*) FROM list_actions('{"older_than": "1 hour"}');
SELECT count(*) = (SELECT count(*) FROM operator_log) AS all_of_it FROM list_actions('{"newer_than": "1 hour"}', NULL, 1000);
SELECT l.action FROM operator_log o CROSS JOIN LATERAL list_actions(jsonb_build_object('dlq_id', o.dlq_id)) l WHERE o.action = 'edit';
SELECT cursor AS after FROM list_actions('{}', NULL, 4) OFFSET 3 \gset
SELECT array_agg(id) = (SELECT array_agg(id) FROM (SELECT id FROM operator_log ORDER BY id DESC OFFSET 4) AS o) AS rest FROM list_actions('{}', :'after', 1000);
SELECT pg_temp.error_of(call) FROM (VALUES (1, $$SELECT pgalert.list_actions('{"user_id": "x"}')$$), (2, $$SELECT pgalert.list_actions('{"dlq_id": "x"}')$$), (3, $$SELECT pgalert.list_actions('{}', NULL, 0)$$)) AS v (n, call) ORDER BY n;
