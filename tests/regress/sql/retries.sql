-- Dead letters and their retries.
--    1. Each failed retry counts, and waits its delay of the policy's schedule; then the letter stays, exhausted.
--    2. A success removes the letter and records the delivery; the failures stay in the log.
--    3. Only what failed is tried again. Fates that differ are letters of their own: waiting, permanent, expired.
--    4. A deferral does not count, grows up to 15 minutes, and respects retry_after; 48 hours of it count as one failure.
--    5. Jitter only adds.
--    6. What has expired is not sent; a letter that is not due is not selected; selecting twice selects once, and a letter
--       that somebody removed meanwhile does not come back.
--    7. A retry is never its own duplicate; delivered, it moves the content's key to a whole window from then.
--    8. The functions known before: push_to_dlq, get_failed_alerts, increment_retry_count, remove_from_dlq,
--       track_delivery, check_duplicate_delivery.
--    9. alert_history tells it all, in order.
--   10. What expires before its next retry ends when it expires, and gives its keys back.
--   11. A retry goes to the address that has replaced the one at fault, not to those that were reached.
--   12. Retries of large alerts come in claims of 8 MB, too; what a table has compressed is not taken for a small one.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
\i :srcdir/include/published.sql
INSERT INTO policies (name, retry_schedule, jitter, daily_limit) VALUES
  ('plain', '{5 minutes,30 minutes,2 hours,12 hours,24 hours}', 0, NULL), ('jittery', '{10 minutes,1 hour}', 0.5, NULL), ('never', '{}', 0, NULL);
CREATE FUNCTION pg_temp.fire(alert text, channels jsonb DEFAULT '["email"]', more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', channels, 'priority', 'plain') || more, 'u1', 'about ' || alert)
$$;

-- 1
SELECT pg_temp.fire('a');
SELECT pg_temp.claim();
SELECT pg_temp.answer('a', '{"email": "failed"}', '{"error_class": "timeout", "error": "no answer"}');
CREATE PROCEDURE pg_temp.fail_on() LANGUAGE plpgsql AS $$
DECLARE
  letter record;
BEGIN
  FOR retry IN 1 .. 6 LOOP
    SELECT * INTO letter FROM pg_temp.dead_letters('a');
    RAISE INFO '% count %, due in %', letter.state, letter.retry_count, coalesce(letter.due_in::text, '-');
    PERFORM pg_temp.make_due('a'), pgalert.schedule_retries();
    COMMIT;
    RAISE INFO 'retry %: %, attempt %', retry, coalesce(pg_temp.claim(), 'nothing'), (SELECT max(attempt) FROM claimed);
    COMMIT;
    PERFORM pg_temp.answer('a', '{"email": "failed"}', jsonb_build_object('error', 'no answer ' || retry));
    COMMIT;
  END LOOP;
END
$$;
CALL pg_temp.fail_on();
SELECT * FROM pg_temp.dead_letters('a');
SELECT count(*) AS letters, count(DISTINCT c.delivery_key) AS keys_over_all_attempts, bool_and(l.delivery_key = c.delivery_key) AS the_letters_key
FROM alert_dlq l JOIN claimed c USING (alert_id) WHERE alert_id = 'a';
SELECT attempt, channel, outcome, error_class, error FROM delivery_failures WHERE alert_id = 'a' ORDER BY attempt;
SELECT pg_temp.fire('a0', '["email"]', '{"priority": "never"}');
SELECT pg_temp.claim();
SELECT pg_temp.answer('a0', '{"email": "failed"}');
SELECT state, retry_count, next_retry_at FROM alert_dlq WHERE alert_id = 'a0';

-- 2
SELECT pg_temp.fire('b');
SELECT pg_temp.claim();
SELECT pg_temp.answer('b', '{"email": "failed"}');
SELECT pg_temp.make_due('b'), schedule_retries();
SELECT state, next_retry_at FROM alert_dlq WHERE alert_id = 'b';
SELECT pg_temp.claim();
SELECT pg_temp.answer('b', '{"email": "delivered"}');
SELECT count(*) AS letters FROM alert_dlq WHERE alert_id = 'b';
SELECT * FROM pg_temp.reached('b');
SELECT count(*) AS failures FROM delivery_failures WHERE alert_id = 'b';

-- 3
SELECT pg_temp.fire('c', '["email", "slack", "sms", "webhook", "inapp"]');
SELECT pg_temp.claim();
SELECT report(claim_id, worker, pg_temp.outcomes('c', '{"email": "failed"}', '{"error": "later"}') || pg_temp.outcomes('c', '{"slack": "failed"}', '{"error": "no such hook", "permanent": true}')
  || pg_temp.outcomes('c', '{"sms": "delivered"}') || pg_temp.outcomes('c', '{"webhook": "deferred"}', '{"error": "throttled"}')) FROM claimed WHERE alert_id = 'c';
SELECT * FROM pg_temp.dead_letters('c');
SELECT * FROM pg_temp.reached('c');
SELECT pg_temp.make_due('c'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('c', '{"email": "delivered", "webhook": "failed"}');
SELECT * FROM pg_temp.dead_letters('c');
SELECT * FROM pg_temp.reached('c');
SELECT pg_temp.make_due('c'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('c', '{"webhook": "failed"}', '{"permanent": true, "error": "gone"}');
SELECT * FROM pg_temp.dead_letters('c');
-- Two letters of one alert, retried at once, are two messages of one delivery key, in one claim.
SELECT count(retry_now(id)) FROM alert_dlq WHERE alert_id = 'c';
SELECT pg_temp.claim();
SELECT pg_temp.answer('c', '{"slack": "delivered", "webhook": "failed"}', '{"error": "gone still"}');
SELECT * FROM pg_temp.dead_letters('c');
SELECT * FROM pg_temp.reached('c');
-- So may be two addresses of one channel; an outcome that names its message is of that one alone.
SELECT add_recipient('u1', 'email', 'one@example.com') AS one, add_recipient('u1', 'email', 'two@example.com') AS two \gset
SELECT pg_temp.fire('c2');
SELECT pg_temp.claim();
SELECT report(claim_id, worker, pg_temp.outcomes('c2', '{"email": "failed"}', jsonb_build_object('recipient_id', :one, 'permanent', true))
  || pg_temp.outcomes('c2', '{"email": "failed"}', jsonb_build_object('recipient_id', :two))) FROM claimed WHERE alert_id = 'c2';
SELECT state, channels, owed_recipients -> 'email' = jsonb_build_array(:one) AS to_one FROM pg_temp.dead_letters('c2');
SELECT count(retry_now(id)) FROM alert_dlq WHERE alert_id = 'c2';
CREATE TEMPORARY TABLE pair AS SELECT b.*, (b.recipients -> 'email' -> 0 ->> 'recipient_id')::bigint AS recipient_id FROM claim_batch('w1', 10, '1 hour') b;
CREATE FUNCTION pg_temp.answer_one(recipient bigint, outcome text) RETURNS integer LANGUAGE sql AS $$
  SELECT pgalert.report(b.claim_id, 'w1', jsonb_build_array(jsonb_build_object('delivery_key', b.delivery_key, 'message_id', b.message_id,
    'channel', 'email', 'recipient_id', recipient, 'outcome', outcome, 'error', 'still not'))) FROM pair b WHERE b.recipient_id = recipient
$$;
SELECT count(*) AS messages, count(DISTINCT delivery_key) AS keys FROM pair;
SELECT pg_temp.answer_one(:one, 'delivered');
SELECT state, owed_recipients -> 'email' = jsonb_build_array(:two) AS to_two FROM pg_temp.dead_letters('c2');
SELECT pg_temp.error_of(format('SELECT pgalert.report(%s, ''w1'', %L)', b.claim_id, jsonb_build_array(o || u.more, o))) ~ u.error AS refused
FROM pair b
CROSS JOIN jsonb_build_object('delivery_key', b.delivery_key, 'channel', 'email', 'outcome', 'delivered') o
CROSS JOIN LATERAL (VALUES (jsonb_build_object('message_id', b.message_id), '^22023: of the outcomes of a message some name it'),
                           ('{"message_id": 987654321}', '^22023: an outcome is not of this claim')) AS u (more, error)
WHERE b.recipient_id = :two;
SELECT pg_temp.answer_one(:two, 'failed');
SELECT state, owed_recipients -> 'email' = jsonb_build_array(:two) AS to_two, error_message FROM pg_temp.dead_letters('c2');
SELECT * FROM pg_temp.reached('c2');
DELETE FROM recipients WHERE user_id = 'u1';

-- 4
CREATE FUNCTION pg_temp.wait_of(alert text, at_least interval, at_most interval) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s, count %s, deferrals %s, since %s, waits as long as it should: %s', state, retry_count, deferrals, deferred_since IS NOT NULL,
                next_retry_at - clock_timestamp() BETWEEN at_least - interval '5 seconds' AND at_most)
  FROM pgalert.alert_dlq WHERE alert_id = alert
$$;
SELECT pg_temp.fire('d'), pg_temp.fire('d2');
SELECT pg_temp.claim();
SELECT pg_temp.answer('d', '{"email": "deferred"}', '{"error_class": "breaker_open"}'), pg_temp.answer('d2', '{"email": "deferred"}', '{"retry_after_s": 7200}');
SELECT pg_temp.wait_of('d', '30 seconds', '36 seconds'), pg_temp.wait_of('d2', '2 hours', '2 hours');
SELECT pg_temp.make_due('d'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('d', '{"email": "deferred"}');
SELECT pg_temp.wait_of('d', '1 minute', '72 seconds');
UPDATE alert_dlq SET deferrals = 20 WHERE alert_id = 'd';
SELECT pg_temp.make_due('d'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('d', '{"email": "deferred"}');
SELECT pg_temp.wait_of('d', '15 minutes', '18 minutes');
UPDATE alert_dlq SET deferred_since = clock_timestamp() - interval '49 hours' WHERE alert_id = 'd';
SELECT pg_temp.make_due('d'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('d', '{"email": "deferred"}');
SELECT pg_temp.wait_of('d', '30 minutes', '30 minutes');
SELECT pg_temp.make_due('d'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('d', '{"email": "failed"}');
SELECT pg_temp.wait_of('d', '2 hours', '2 hours');
SELECT attempt, outcome FROM delivery_failures WHERE alert_id = 'd' ORDER BY failed_at;

-- 5
SELECT setseed(0.5);
SELECT count(pg_temp.fire('e' || n, '["email"]', '{"priority": "jittery"}')) FROM generate_series(1, 40) n;
SELECT count(*) FROM (SELECT pg_temp.claim()) c;
SELECT sum(pg_temp.answer('e' || n, '{"email": "failed"}')) FROM generate_series(1, 40) n;
SELECT bool_and(wait BETWEEN interval '9 minutes 55 seconds' AND interval '15 minutes') AS within, max(wait) - min(wait) > interval '1 minute' AS spread
FROM (SELECT next_retry_at - clock_timestamp() AS wait FROM alert_dlq WHERE alert_id LIKE 'e%') w;
DELETE FROM alert_dlq WHERE alert_id LIKE 'e%';

-- 6
SELECT pg_temp.fire('f1', '["email"]', jsonb_build_object('expires_at', clock_timestamp() + interval '1 hour')), pg_temp.fire('f2'), pg_temp.fire('f3');
SELECT pg_temp.claim();
SELECT pg_temp.answer('f1', '{"email": "failed"}'), pg_temp.answer('f2', '{"email": "failed"}'), pg_temp.answer('f3', '{"email": "failed"}');
SELECT schedule_retries() AS not_due;
UPDATE alert_dlq SET expires_at = clock_timestamp() WHERE alert_id = 'f1';
SELECT pg_temp.make_due('f1'), pg_temp.make_due('f2'), pg_temp.make_due('f3');
SELECT schedule_retries(1) AS bounded;
SELECT schedule_retries() AS the_rest;
SELECT schedule_retries() AS again;
SELECT alert_id, state FROM alert_dlq WHERE alert_id LIKE 'f_' ORDER BY 1;
SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'f3';
SELECT pg_temp.claim();
SELECT pg_temp.answer('f3', '{"email": "failed"}'), pg_temp.answer('f2', '{"email": "delivered"}');
SELECT alert_id, state FROM alert_dlq WHERE alert_id LIKE 'f_' ORDER BY 1;
SELECT * FROM open_claims();
-- Removed while its retry is under way, and then delivered: it was delivered.
SELECT pg_temp.fire('f4');
SELECT pg_temp.claim();
SELECT pg_temp.answer('f4', '{"email": "failed"}');
SELECT pg_temp.make_due('f4'), schedule_retries();
SELECT pg_temp.claim();
SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'f4';
SELECT pg_temp.answer('f4', '{"email": "delivered"}');
SELECT * FROM pg_temp.reached('f4');

-- 7
SELECT pg_temp.fire('g', '["email"]', '{"priority": "normal"}');
SELECT pg_temp.claim();
SELECT pg_temp.answer('g', '{"email": "failed"}');
UPDATE dedup_keys SET content_until = clock_timestamp() + interval '1 minute', day_until = clock_timestamp() + interval '1 minute' WHERE owner = (SELECT delivery_key FROM claimed WHERE alert_id = 'g');
SELECT pg_temp.make_due('g'), schedule_retries() AS not_its_own_duplicate;
SELECT pg_temp.fire('g', '["email"]', '{"priority": "normal"}') AS meanwhile;
SELECT pg_temp.claim();
SELECT pg_temp.answer('g', '{"email": "delivered"}');
SELECT u.content, u.until > clock_timestamp() + interval '23 hours 59 minutes' AS moved
FROM dedup_keys k JOIN outbox o ON o.delivery_key = k.owner AND o.attempt = 1
  CROSS JOIN LATERAL (VALUES (true, k.content_until), (false, k.day_until)) AS u (content, until) WHERE o.alert_id = 'g' ORDER BY 1;
SELECT pg_temp.fire('g', '["email"]', '{"priority": "normal"}') AS afterwards;

-- 8
TRUNCATE alert_dlq, outbox, claims, claim_log;
SELECT push_to_dlq('h1', '{"message": "m", "user_id": "u1", "notify_email": true, "notify_inapp": true, "condition": {"a": 1}}', 'mailbox full') IS NOT NULL AS pushed;
SELECT * FROM pg_temp.dead_letters('h1');
SELECT user_id, alert_data, priority, content_hash = compute_content_hash('{"a": 1}', 'm', 'u1') AS identity FROM alert_dlq;
SELECT push_to_dlq('h2', '{"channels": ["sms"], "priority": "never"}', repeat('long', 2000)) IS NOT NULL AS pushed;
SELECT state, length(error_message) AS cut_to FROM alert_dlq WHERE alert_id = 'h2';
SELECT pg_temp.make_due('h1'), schedule_retries();
SELECT pg_temp.claim();
SELECT pg_temp.answer('h1', '{"email": "failed"}');
SELECT push_to_dlq('h3', '{"notify_email": true}', 'e') IS NOT NULL AS pushed;
SELECT alert_id, retry_count, state FROM get_failed_alerts();
SELECT alert_id FROM get_failed_alerts(1);
SELECT alert_id FROM get_failed_alerts(5, 1);
SELECT alert_id FROM get_failed_alerts(max_rows => 0);
SELECT increment_retry_count(id) FROM alert_dlq WHERE alert_id = 'h3';
SELECT * FROM pg_temp.dead_letters('h3');
SELECT increment_retry_count(id), increment_retry_count(id), increment_retry_count(id) FROM alert_dlq WHERE alert_id = 'h3';
SELECT state, retry_count FROM alert_dlq WHERE alert_id = 'h3';
SELECT increment_retry_count(id) FROM alert_dlq WHERE alert_id = 'h3';
SELECT * FROM pg_temp.dead_letters('h3');
SELECT left(pg_temp.error_of(format('SELECT pgalert.increment_retry_count(%L)', id)), 5) AS of_an_exhausted_one FROM alert_dlq WHERE alert_id = 'h3';
SELECT remove_from_dlq(id) FROM alert_dlq WHERE alert_id = 'h3';
SELECT remove_from_dlq('11111111-1111-4111-8111-111111111111');
SELECT track_delivery('i1', '{"message": "m", "user_id": "u1"}', '["sms", "email"]') IS NOT NULL AS tracked;
SELECT * FROM pg_temp.reached('i1');
SELECT check_duplicate_delivery(compute_content_hash(NULL, 'm', 'u1')) AS known, check_duplicate_delivery(compute_content_hash(NULL, 'm', 'u1'), '0') AS of_no_time,
       check_duplicate_delivery(compute_content_hash(NULL, 'm', 'u2')) AS of_another;
SELECT deliver_alert('{"id": "i2"}', 'u1', 'm') AS reserved_too, deliver_alert('{"id": "i1"}', 'u1', 'other') AS day_too;
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('twice', 2, '0');
SELECT deliver_alert('{"id": "i4", "priority": "twice"}', 'u1', 'the first') AS first, track_delivery('i4', '{"message": "m", "user_id": "u1", "priority": "twice"}', '["sms"]') IS NOT NULL AS tracked,
       deliver_alert('{"id": "i4", "priority": "twice"}', 'u1', 'the third') AS third;
SELECT deliver_alert('{"id": "i3", "channels": ["email"]}', 'u3', 'queued');
SELECT check_duplicate_delivery(compute_content_hash(NULL, 'queued', 'u3')) AS counts_too;

-- 9
SELECT event, attempt, channels, detail, next_retry_at IS NOT NULL AS retried FROM alert_history('c', 'u1') ORDER BY attempt, event, channels;
SELECT event, attempt, channels, regexp_replace(detail, '[0-9a-f]{32}', '<hash>') AS detail FROM alert_history('g', 'u1');
SELECT event, attempt, channels, detail, next_retry_at IS NOT NULL AS retried FROM alert_history('h1', 'u1');
SELECT event, attempt, channels FROM alert_history('i3', 'u3') ORDER BY event;
SELECT bool_and(at >= previous) AS in_order FROM (SELECT at, lag(at) OVER () AS previous FROM alert_history('c', 'u1')) h;
SELECT count(*) FROM alert_history('c', 'u2');

-- 10
SELECT pg_temp.fire('k1', '["email"]', jsonb_build_object('expires_at', clock_timestamp() + interval '2 minutes'));
SELECT pg_temp.claim();
SELECT pg_temp.answer('k1', '{"email": "failed"}');
SELECT pg_temp.fire('k1') AS again, next_retry_at = expires_at AS due_when_it_expires FROM alert_dlq WHERE alert_id = 'k1';
UPDATE alert_dlq SET expires_at = clock_timestamp(), next_retry_at = clock_timestamp() WHERE alert_id = 'k1';
SELECT schedule_retries();
SELECT pg_temp.fire('k1') AS again, state, next_retry_at FROM alert_dlq WHERE alert_id = 'k1';
SELECT pg_temp.claim();
SELECT pg_temp.answer('k1', '{"email": "failed"}');
UPDATE alert_dlq SET expires_at = clock_timestamp() + interval '3 minutes' WHERE alert_id = 'k1' AND state = 'waiting';
SELECT increment_retry_count(id) AS count FROM alert_dlq WHERE alert_id = 'k1' AND state = 'waiting';
SELECT state, next_retry_at = expires_at AS due_when_it_expires FROM alert_dlq WHERE alert_id = 'k1' ORDER BY created_at;
SELECT push_to_dlq('k2', jsonb_build_object('user_id', 'u1', 'channels', '["email"]'::jsonb, 'expires_at', clock_timestamp() + interval '4 minutes'), 'e') IS NOT NULL AS pushed;
SELECT state, next_retry_at = expires_at AS due_when_it_expires FROM alert_dlq WHERE alert_id = 'k2';
-- One that was brought from elsewhere and does not say when it is due is due at once.
SELECT import_dead_letters(jsonb_build_array(to_jsonb(d) || '{"id": "0198c8a0-0000-7000-8000-000000000001", "next_retry_at": null}')) AS imported
FROM alert_dlq d WHERE alert_id = 'k2';
DELETE FROM alert_dlq WHERE id = '0198c8a0-0000-7000-8000-000000000001' RETURNING state, next_retry_at <= clock_timestamp() AS due;

-- 11
SELECT add_recipient('u2', 'email', 'right@x') AS right_one, add_recipient('u2', 'email', 'wrong@x') AS wrong_one \gset
CREATE FUNCTION pg_temp.addresses() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(a ->> 'address', ' ' ORDER BY a ->> 'address')
  FROM (SELECT recipients FROM claimed WHERE alert_id = 'l1' ORDER BY n DESC LIMIT 1) AS last CROSS JOIN jsonb_array_elements(recipients -> 'email') a
$$;
SELECT deliver_alert('{"id": "l1", "channels": ["email"], "priority": "plain"}', 'u2', 'm');
SELECT pg_temp.claim() AS claimed;
SELECT pg_temp.addresses(), pg_temp.answer('l1', '{"email": "failed"}', jsonb_build_object('recipient_id', :wrong_one));
SELECT pg_temp.make_due('l1'), schedule_retries();
SELECT pg_temp.claim() AS claimed;
SELECT pg_temp.addresses(), pg_temp.answer('l1', '{"email": "failed"}', jsonb_build_object('recipient_id', :wrong_one));
SELECT remove_recipient(:wrong_one), pg_temp.make_due('l1'), schedule_retries();
SELECT pg_temp.claim() AS claimed;
SELECT pg_temp.addresses() AS nobody, pg_temp.answer('l1', '{"email": "failed"}', '{"error_class": "no_recipient"}');
SELECT add_recipient('u2', 'email', 'corrected@x') AS corrected \gset
SELECT pg_temp.make_due('l1'), schedule_retries();
SELECT pg_temp.claim() AS claimed;
SELECT pg_temp.addresses(), pg_temp.answer('l1', '{"email": "failed"}', jsonb_build_object('recipient_id', :corrected));
SELECT owed_recipients = jsonb_build_object('email', jsonb_build_array(:corrected)) AS owed FROM alert_dlq WHERE alert_id = 'l1';
-- One that is disabled, and one that is still there beside it.
SELECT deliver_alert('{"id": "l2", "channels": ["email"], "priority": "plain"}', 'u2', 'another');
SELECT pg_temp.claim() AS claimed;
SELECT report(c.claim_id, 'w1', jsonb_agg(jsonb_build_object('delivery_key', c.delivery_key, 'channel', 'email', 'recipient_id', a -> 'recipient_id', 'outcome', 'failed')))
FROM claimed c CROSS JOIN jsonb_array_elements(c.recipients -> 'email') a WHERE c.alert_id = 'l2' GROUP BY c.claim_id;
UPDATE recipients SET disabled_at = now(), disabled_reason = 'gone' WHERE recipient_id = :right_one;
SELECT pg_temp.make_due('l2'), schedule_retries();
SELECT pg_temp.claim() AS claimed;
SELECT a ->> 'address' AS address FROM (SELECT recipients FROM claimed WHERE alert_id = 'l2' ORDER BY n DESC LIMIT 1) AS last CROSS JOIN jsonb_array_elements(recipients -> 'email') a;

-- 12
SELECT pg_temp.fire('large' || n, more => jsonb_build_object('note', repeat('x', 1000000))) FROM generate_series(1, 10) n;
SELECT pg_temp.claim() AS first, pg_temp.claim() AS second;
SELECT sum(pg_temp.answer('large' || n, '{"email": "failed"}')) FROM generate_series(1, 10) n;
SELECT sum(pg_temp.make_due('large' || n)) FROM generate_series(1, 10) n;
SELECT schedule_retries();
SELECT array_length(string_to_array(pg_temp.claim(), ' '), 1) AS first, array_length(string_to_array(pg_temp.claim(), ' '), 1) AS second;
CREATE TEMPORARY TABLE old_alerts AS SELECT jsonb_build_object('notify_email', true, 'note', repeat('x', 1100000)) AS alert;
SET plan_cache_mode = force_generic_plan;  -- as after five calls: another plan has the alert as a constant, decompressed
SELECT pg_temp.error_of('SELECT push_to_dlq(''j1'', alert, ''e'') FROM old_alerts');
RESET plan_cache_mode;
