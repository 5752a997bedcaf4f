-- What every public function does with what it must refuse.
--   1. Each case is an error with an SQLSTATE of its own kind; none is an internal error (XX000).
--   2. An error that pgalert raises says more in DETAIL and in HINT. (Postgres' own, about a type, need not.)
--   3. No table and no state that is kept in a sequence differs afterwards.
--   4. The table of cases leaves out no public function.
SET search_path = pgalert, public;
SET intervalstyle = postgres;
SET timezone = 'UTC';
\pset format unaligned
\pset tuples_only on

-- Something of everything, so that a change would be seen: a claim in work, dead letters, an inbox, recipients.
SELECT add_recipient('u1', 'email', 'u1@example.com') > 0;
INSERT INTO channels VALUES ('pager', 'of the test');
SELECT deliver_alert('{"id": "a1", "channels": ["inapp", "email"]}', 'u1', 'first');
SELECT deliver_alert('{"id": "a2", "channels": ["inapp"]}', 'u1', 'second');
SELECT push_to_dlq('a3', '{"message": "third", "user_id": "u1", "notify_email": true}', 'mailbox full') IS NOT NULL;
SELECT push_to_dlq('a4', '{"message": "fourth", "user_id": "u1", "notify_email": true}', 'mailbox full') IS NOT NULL;
UPDATE alert_dlq SET state = 'permanent', next_retry_at = NULL WHERE alert_id = 'a4';
SELECT count(*) FROM claim_batch('w1', 10, '1 hour');

-- Rows of each table, and the sequences that hold state (not those that only number).
CREATE FUNCTION pg_temp.state() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  relation record;
  rows text;
  result text := '';
BEGIN
  FOR relation IN SELECT c.oid::regclass AS name, CASE c.relkind WHEN 'S' THEN 'last_value' ELSE 't' END AS row
                  FROM pg_class c WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind IN ('r', 'S')
                    AND c.relname NOT IN ('message_id', 'claim_id') AND c.relname NOT LIKE 'count\_%' ORDER BY c.relname LOOP
    EXECUTE format('SELECT string_agg(%1$s::text, %2$L ORDER BY %1$s::text) FROM %3$s t', relation.row, E'\n', relation.name) INTO rows;
    result := result || format(E'%s: %s\n', relation.name, rows);
  END LOOP;
  RETURN result;
END
$$;

CREATE FUNCTION pg_temp.letter(alert text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM pgalert.alert_dlq WHERE alert_id = alert';

CREATE FUNCTION pg_temp.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before text := pg_temp.state();
  detail text;
  hint text;
  verdict text;
BEGIN
  BEGIN
    EXECUTE 'SELECT count(*) FROM pgalert.' || call;
    verdict := 'NOT REFUSED';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    verdict := format('%s: %s [%s]', SQLSTATE, regexp_replace(SQLERRM, pg_temp.letter('a4')::text, '<the letter>'),
                      concat_ws(', ', CASE WHEN detail <> '' THEN 'detail' END, CASE WHEN hint <> '' THEN 'hint' END));
  END;
  RETURN verdict || CASE WHEN pg_temp.state() <> before THEN ' STATE CHANGED' ELSE '' END;
END
$$;

-- What a case needs that differs from run to run.
CREATE FUNCTION pg_temp.the_claim() RETURNS bigint LANGUAGE sql AS 'SELECT max(claim_id) FROM pgalert.claims';
CREATE FUNCTION pg_temp.outcome(change jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_array(jsonb_strip_nulls(
    jsonb_build_object('delivery_key', (SELECT delivery_key FROM pgalert.outbox), 'channel', 'email', 'outcome', 'delivered') || change))
$$;
CREATE FUNCTION pg_temp.nested(levels integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT (repeat('{"a": ', levels) || '1' || repeat('}', levels))::jsonb
$$;

CREATE TEMPORARY TABLE cases (n integer GENERATED ALWAYS AS IDENTITY, call text);
INSERT INTO cases (call) VALUES
  -- deliver_alert: the alert
  ($$deliver_alert(NULL, 'u1', 'm')$$),
  ($$deliver_alert('null', 'u1', 'm')$$),
  ($$deliver_alert('"a1"', 'u1', 'm')$$),
  ($$deliver_alert('[{"id": "a1"}]', 'u1', 'm')$$),
  ($$deliver_alert('{}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": null}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": ""}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": true}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": ["a1"]}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "a\r\nBcc: x"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "a\u0085"}', 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', repeat('a', 300)), 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', repeat('9', 300)::numeric), 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "name": 5}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "priority": 1}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "priority": ""}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "priority": "urgent"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "dedup_key": {}}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "dedup_key": ""}', 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', 'b1', 'dedup_key', repeat('k', 300)), 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": 1790000000}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": "tomorrow"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": "2030-02-31"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": "2030-01-01 at noon"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": "2030-01-01 at noon", "channels": []}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": "email"}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": {"email": "yes"}}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": {"email": null}}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": ["email", 7]}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": ["E-Mail"]}', 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "channels": ["pigeon"]}', 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', 'b1', 'channels', jsonb_build_array(repeat('c', 64))), 'u1', 'm')$$),
  ($$deliver_alert('{"id": "b1", "notify_email": "yes"}', 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', 'b1', 'condition', pg_temp.nested(200)), 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', 'b1', 'note', pg_temp.nested(100)), 'u1', 'm')$$),
  ($$deliver_alert(jsonb_build_object('id', 'b1', 'note', repeat('x', 1048577)), 'u1', 'm')$$),
  -- deliver_alert: its other arguments
  ($$deliver_alert('{"id": "b1"}', NULL, 'm')$$),
  ($$deliver_alert('{"id": "b1"}', '', 'm')$$),
  ($$deliver_alert('{"id": "b1"}', repeat('u', 300), 'm')$$),
  ($$deliver_alert('{"id": "b1"}', E'u\n', 'm')$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', NULL)$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', '')$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', repeat('m', 1048576))$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', 'm', '-1 second')$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', 'm', '178000000 years')$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', 'm', 'a while')$$),
  ($$deliver_alert('{"id": "b1", "expires_at": "2030-02-28T99:00Z"}', 'u1', 'm')$$),
  -- deliver_alerts
  ($$deliver_alerts(NULL)$$),
  ($$deliver_alerts('{{null,null},{null,null}}')$$),
  ($$deliver_alerts(ARRAY[NULL]::jsonb[])$$),
  ($$deliver_alerts(ARRAY['5']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": "u1", "message": "m"}', '{"alert": {"id": "b2"}, "user_id": "u1"}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": "u1", "message": {"a": 1}}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": ["u1"], "message": "m"}']::jsonb[])$$),
  ($$deliver_alert('{"id": "b1"}', 'u1', 'm', '367 days')$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": "u1", "message": "m", "dedup_window": 5}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": "u1", "message": "m", "dedup_window": "a while"}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1"}, "user_id": "u1", "message": "m", "dedup_window": "2 years"}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1", "priority": "urgent"}, "user_id": "u1", "message": "m"}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1", "channels": ["pigeon"]}, "user_id": "u1", "message": "m"}']::jsonb[])$$),
  ($$deliver_alerts(ARRAY['{"alert": {"id": "b1", "expires_at": "2030-02-31"}, "user_id": "u1", "message": "m"}']::jsonb[])$$),
  -- pure functions
  ($$compute_content_hash(pg_temp.nested(200))$$),
  ($$compute_content_hash(pg_temp.nested(200), 'm', 'u1')$$),
  ($$normalize_channels('[]'::jsonb)$$),
  ($$normalize_channels('{"channels": 1}'::jsonb)$$),
  ($$normalize_channels('"email"'::jsonb, true, true)$$),
  ($$retry_delay(-1, '{1 hour}')$$),
  ($$retry_delay(0, '{-1 hour}')$$),
  ($$retry_delay(0, '{NULL}')$$),
  ($$next_retry_at(0, 'infinity', '{1 hour}')$$),
  ($$next_retry_at(0, '2030-01-01', '{170000000 years}')$$),
  -- known before
  ($$check_duplicate_delivery(NULL)$$),
  ($$check_duplicate_delivery('')$$),
  ($$check_duplicate_delivery('abc', NULL)$$),
  ($$check_duplicate_delivery('abc', '-1 hour')$$),
  ($$check_duplicate_delivery('abc', '178000000 years')$$),
  ($$track_delivery(NULL, '{"message": "m"}', '["email"]')$$),
  ($$track_delivery('', '{"message": "m"}', '["email"]')$$),
  ($$track_delivery(E'a\t', '{"message": "m"}', '["email"]')$$),
  ($$track_delivery('b1', NULL, '["email"]')$$),
  ($$track_delivery('b1', '[]', '["email"]')$$),
  ($$track_delivery('b1', '{"message": "m"}', NULL)$$),
  ($$track_delivery('b1', '{"message": "m"}', '[]')$$),
  ($$track_delivery('b1', '{"message": "m"}', '"email"')$$),
  ($$track_delivery('b1', '{"message": "m"}', '["pigeon"]')$$),
  ($$track_delivery('b1', '{"message": "m", "priority": "urgent"}', '["email"]')$$),
  ($$track_delivery('b1', '{"message": "m", "priority": 7}', '["email"]')$$),
  ($$track_delivery('b1', '{"message": "m", "user_id": ""}', '["email"]')$$),
  ($$track_delivery('b1', '{"message": "m", "user_id": {"a": 1}}', '["email"]')$$),
  ($$track_delivery('b1', jsonb_build_object('condition', pg_temp.nested(200)), '["email"]')$$),
  ($$track_delivery('b1', '{"message": ["m"]}', '["email"]')$$),
  ($$track_delivery('b1', '{"message": "m", "user_id": "u1", "dedup_key": ""}', '["email"]')$$),
  ($$push_to_dlq(NULL, '{"notify_email": true}', 'e')$$),
  ($$push_to_dlq(repeat('b', 300), '{"notify_email": true}', 'e')$$),
  ($$push_to_dlq('b1', NULL, 'e')$$),
  ($$push_to_dlq('b1', '7', 'e')$$),
  ($$push_to_dlq('b1', jsonb_build_object('notify_email', true, 'note', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 40000) n)), 'e')$$),
  ($$push_to_dlq('b1', jsonb_build_object('notify_email', true, 'note', repeat('x', 1048577)), 'e')$$),
  ($$push_to_dlq('b1', jsonb_build_object('notify_email', true, 'condition', pg_temp.nested(200)), 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true}', NULL)$$),
  ($$push_to_dlq('b1', '{"notify_email": true}', '')$$),
  ($$push_to_dlq('b1', '{"notify_email": false}', 'e')$$),
  ($$push_to_dlq('b1', '{"channels": ["pigeon"]}', 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true, "priority": "urgent"}', 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true, "expires_at": "tomorrow or so"}', 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true, "expires_at": 20301231}', 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true, "message": 5}', 'e')$$),
  ($$push_to_dlq('b1', '{"notify_email": true, "user_id": [1]}', 'e')$$),
  ($$push_to_dlq('b1', jsonb_build_object('notify_email', true, 'note', pg_temp.nested(200)), 'e')$$),
  ($$get_failed_alerts(-1)$$),
  ($$get_failed_alerts(NULL)$$),
  ($$get_failed_alerts(5, -1)$$),
  ($$get_failed_alerts(5, NULL)$$),
  ($$increment_retry_count(NULL)$$),
  ($$increment_retry_count('11111111-1111-4111-8111-111111111111')$$),
  ($$increment_retry_count('no uuid')$$),
  ($$increment_retry_count(pg_temp.letter('a4'))$$),
  ($$remove_from_dlq(NULL)$$),
  ($$schedule_retries(NULL)$$),
  ($$schedule_retries(0)$$),
  ($$schedule_retries(-5)$$),
  ($$schedule_retries(2147483647)$$),
  -- a damaged row of claims
  ($$_window_ranges('1:2', '3:3:', '0', 0)$$),
  ($$_window_ranges('3:3:', '5:5:4,x', '0', 0)$$),
  ($$_window_ranges('3:3:', '5:5:', '-1', 0)$$),
  -- the driver's
  ($$claim_batch(NULL, 10, '1 minute')$$),
  ($$claim_batch('', 10, '1 minute')$$),
  ($$claim_batch(repeat('w', 300), 10, '1 minute')$$),
  ($$claim_batch('w1', NULL, '1 minute')$$),
  ($$claim_batch('w1', 0, '1 minute')$$),
  ($$claim_batch('w1', -1, '1 minute')$$),
  ($$claim_batch('w1', 1000000, '1 minute')$$),
  ($$claim_batch('w1', 10, NULL)$$),
  ($$claim_batch('w1', 10, '0')$$),
  ($$claim_batch('w1', 10, '-1 minute')$$),
  ($$claim_batch('w1', 10, '178000000 years')$$),
  ($$report(NULL, 'w1', '[]')$$),
  ($$report(pg_temp.the_claim(), NULL, '[]')$$),
  ($$report(pg_temp.the_claim(), 'w2', '[]')$$),
  ($$report(-1, 'w1', '[]')$$),
  ($$report(9223372036854775807, 'w1', '[]')$$),
  ($$report(pg_temp.the_claim(), 'w1', NULL)$$),
  ($$report(pg_temp.the_claim(), 'w1', '{}')$$),
  ($$report(pg_temp.the_claim(), 'w1', '[7]')$$),
  ($$report(pg_temp.the_claim(), 'w1', '[{}]')$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"delivery_key": "no uuid"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"delivery_key": "11111111-1111-4111-8111-111111111111"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"channel": null}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"channel": "sms"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"channel": "inapp"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"outcome": "lost"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"recipient_id": "first"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"recipient_id": 99999999999999999999}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"outcome": "failed", "permanent": "perhaps"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"outcome": "deferred", "retry_after_s": -1}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"outcome": "deferred", "retry_after_s": "NaN"}'))$$),
  ($$report(pg_temp.the_claim(), 'w1', pg_temp.outcome('{"outcome": "deferred", "retry_after_s": "soon"}'))$$),
  ($$report_breakers(NULL, '[]')$$),
  ($$report_breakers('w1', NULL)$$),
  ($$report_breakers('w1', '{}')$$),
  ($$report_breakers('w1', '[1]')$$),
  ($$report_breakers('w1', '[[]]')$$),
  ($$report_breakers('w1', '[{"channel": "email", "pause_s": 1}]')$$),
  ($$report_breakers('w1', '[{"channel": "email", "host": "h", "pause_s": "soon"}]')$$),
  ($$report_breakers('w1', '[{"channel": "email", "host": "h", "pause_s": "NaN"}]')$$),
  ($$report_breakers('w1', '[{"channel": "email", "host": "h", "pause_s": -1}]')$$),
  ($$extend_lease(NULL, 'w1', '1 minute')$$),
  ($$extend_lease(-1, 'w1', '1 minute')$$),
  ($$extend_lease(pg_temp.the_claim(), 'w2', '1 minute')$$),
  ($$extend_lease(pg_temp.the_claim(), 'w1', NULL)$$),
  ($$extend_lease(pg_temp.the_claim(), 'w1', '2 days')$$),
  ($$release_claim(NULL, 'w1')$$),
  ($$release_claim(-1, 'w1')$$),
  ($$release_claim(pg_temp.the_claim(), '')$$),
  ($$release_claim(pg_temp.the_claim(), 'w2')$$),
  ($$announce_sleep(NULL)$$),
  ($$announce_sleep('-1 second')$$),
  ($$announce_sleep('178000000 years')$$),
  ($$schedule_jobs()$$),
  ($$unschedule_jobs()$$),
  -- inbox and recipients
  ($$inbox(NULL)$$),
  ($$inbox('')$$),
  ($$inbox(repeat('u', 300))$$),
  ($$inbox('u1', false, NULL, 0)$$),
  ($$inbox('u1', false, NULL, NULL)$$),
  ($$inbox('u1', false, NULL, 1000000)$$),
  ($$mark_read(NULL)$$),
  ($$mark_read('')$$),
  ($$mark_read(E'u\x01')$$),
  ($$listen_inbox(NULL)$$),
  ($$listen_inbox('2 hours')$$),
  ($$add_recipient(NULL, 'email', 'a@example.com')$$),
  ($$add_recipient('', 'email', 'a@example.com')$$),
  ($$add_recipient('u1', NULL, 'a@example.com')$$),
  ($$add_recipient('u1', 'inapp', 'a@example.com')$$),
  ($$add_recipient('u1', 'pigeon', 'a@example.com')$$),
  ($$add_recipient('u1', '', 'a@example.com')$$),
  ($$add_recipient('u1', 'email', NULL)$$),
  ($$add_recipient('u1', 'email', '')$$),
  ($$add_recipient('u1', 'email', E'a@example.com\r\nBcc: b@example.com')$$),
  ($$add_recipient('u1', 'webhook', repeat('x', 3000))$$),
  -- settings
  ($$set_setting(NULL, 'x')$$),
  ($$set_setting('colour', 'red')$$),
  ($$set_setting('time_zone', 'Middle/Earth')$$),
  ($$set_setting('time_zone', '')$$),
  ($$set_setting('environment', 'two words')$$),
  ($$set_setting('environment', repeat('e', 64))$$),
  ($$set_setting('rotate_bytes', 'many')$$),
  ($$set_setting('rotate_bytes', '0')$$),
  ($$set_setting('rotate_bytes', '99999999999999999999')$$),
  ($$set_setting('retention', 'a while')$$),
  ($$set_setting('retention', '-1 day')$$),
  ($$set_setting('retention', '178000000 years')$$);

-- 1, 2, 3
SELECT call || E'\n    ' || pg_temp.refused(call) FROM cases ORDER BY n;

-- What tables that users write refuse by themselves.
CREATE FUNCTION pg_temp.refused_row(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RETURN 'NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT command || E'\n    ' || pg_temp.refused_row(command)
FROM (VALUES
  ($$INSERT INTO pgalert.policies VALUES ('Big')$$),
  ($$INSERT INTO pgalert.policies VALUES ('p', 'fast')$$),
  ($$INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('p', '{-1 minute}')$$),
  ($$INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('p', '{NULL}')$$),
  ($$INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('p', '{0}')$$),
  ($$INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('p', '{1 month -1 day}')$$),
  ($$INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('p', '{2 years}')$$),
  ($$INSERT INTO pgalert.policies (name, jitter) VALUES ('p', 1.5)$$),
  ($$INSERT INTO pgalert.policies (name, jitter) VALUES ('p', 'NaN')$$),
  ($$INSERT INTO pgalert.policies (name, dedup_window) VALUES ('p', '-1 hour')$$),
  ($$INSERT INTO pgalert.policies (name, daily_limit) VALUES ('p', 0)$$),
  ($$INSERT INTO pgalert.policies (name, daily_limit) VALUES ('p', 1000000)$$),
  ($$INSERT INTO pgalert.channels VALUES ('e-mail')$$),
  ($$INSERT INTO pgalert.channels VALUES ('')$$)) AS commands (command);

-- 4: these take no argument that could be wrong, or any value is right
SELECT p.proname
FROM pg_proc p
WHERE p.pronamespace = 'pgalert'::regnamespace AND p.proname !~ '^_'
  AND NOT EXISTS (SELECT FROM cases WHERE call LIKE p.proname || '(%')
ORDER BY 1;
