-- Where users are reached.
--   1. An address is added once; one that is there is returned as it is.
--   2. A secret is "whsec_" and the base64 of 24 to 64 bytes; no error and no list shows one.
--   3. Rotation keeps the one before as valid until the next, or until it is dropped; the same again changes nothing.
--   4. A disabled address says since when and why, and can be taken back.
--   5. Names of channels are added and removed; a built-in one cannot be.
--   6. With an address its secrets go; a dump has them.
--   7. A driver gets the addresses in use with their secrets. One that answers 410 Gone is disabled, and no other.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
\set first 'whsec_' `printf 'first-first-first-first-' | base64`
\set second 'whsec_' `printf 'second-second-second-second-' | base64`
\set third 'whsec_' `printf 'third-third-third-third-third-' | base64`
CREATE FUNCTION pg_temp.secrets() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg((SELECT array_agg(substr(convert_from(decode(substr(x, 7), 'base64'), 'UTF8'), 1, 5)) FROM unnest(s.secrets) x)::text, ' ' ORDER BY s.recipient_id) FROM recipient_secrets s
$$;

-- 1
SELECT add_recipient('u1', 'webhook', 'https://a.example.com/') AS a \gset
SELECT add_recipient('u1', 'webhook', 'https://a.example.com/') = :a AS the_same, add_recipient('u1', 'webhook', 'https://b.example.com/', :'first') <> :a AS another;
SELECT add_recipient('u1', 'webhook', 'https://b.example.com/', :'first') AS b \gset
SELECT pg_temp.secrets();
-- An address without a secret may be given one.
SELECT add_recipient('u1', 'webhook', 'https://a.example.com/', :'first') = :a AS the_same;
SELECT pg_temp.secrets();

-- 2
SELECT pg_temp.error_of(format('SELECT pgalert.add_recipient(%L, %L, %L, %L)', 'u2', 'webhook', 'https://c.example.com/', s)) FROM (VALUES
  (1, ''), (2, 'hunter2'), (3, 'whsec_'), (4, 'whsec_' || encode('too short', 'base64')), (5, 'whsec_abc'), (6, 'whsec_' || encode(repeat('x', 65)::bytea, 'hex')),
  (7, E'whsec_\n' || encode(repeat('x', 24)::bytea, 'base64'))) AS v (n, s) ORDER BY n;
SELECT pg_temp.error_of(format('SELECT pgalert.rotate_secret(%s, %L)', :b, 'hunter2')), pg_temp.error_of(format('SELECT pgalert.rotate_secret(%s, NULL)', :b));
SELECT count(*) FROM list_recipients('u2');
SELECT replace(pg_temp.error_of(format('SELECT pgalert.add_recipient(%L, %L, %L, %L)', 'u1', 'webhook', 'https://b.example.com/', :'second')), :'b', 'B');
SELECT user_id, channel, address, secrets, disabled_at, disabled_reason FROM list_recipients('u1');

-- 3
SELECT rotate_secret(:b, :'second');
SELECT pg_temp.secrets();
SELECT rotate_secret(:b, :'second');
SELECT pg_temp.secrets();
SELECT rotate_secret(:b, :'third');
SELECT pg_temp.secrets(), (SELECT secrets FROM list_recipients() WHERE recipient_id = :b);
SELECT drop_old_secret(:b), drop_old_secret(:b), pg_temp.secrets();
SELECT pg_temp.error_of(format('SELECT pgalert.rotate_secret(-1, %L)', :'first'));

-- 4
SELECT _disable_recipient(:a, '410 Gone: ' || repeat('x', 600)), _disable_recipient(:a, 'again');
SELECT address, disabled_at IS NOT NULL AS disabled, length(disabled_reason), left(disabled_reason, 10) AS reason FROM list_recipients('u1');
SELECT enable_recipient(:a), enable_recipient(:a);
SELECT operator = session_user AS by_the_session, action, letters, (detail ->> 'recipient_id')::bigint = :a AS recipient, detail - 'recipient_id' AS detail FROM operator_log;
SELECT address, disabled_at, disabled_reason FROM list_recipients('u1');
SELECT pg_temp.error_of('SELECT pgalert.enable_recipient(-1)');

-- 5
SELECT add_channel('pagerduty', 'Wakes people'), add_channel('pagerduty'), add_channel('email'), add_channel('ntfy');
SELECT * FROM list_channels();
SELECT add_recipient('u1', 'pagerduty', 'key') > 0;
SELECT remove_channel('pagerduty'), remove_channel('pagerduty');
SELECT pg_temp.error_of('SELECT ' || call) FROM (VALUES (1, $$pgalert.remove_channel('slack')$$), (2, $$pgalert.add_channel('Pager Duty')$$), (3, $$pgalert.add_channel(NULL)$$),
  (4, $$pgalert.add_channel('pager', E'a\nb')$$), (5, $$pgalert.add_recipient('u1', 'pagerduty', 'other key')$$), (6, $$pgalert.add_channel(repeat('x', 64))$$)) AS v (n, call) ORDER BY n;
SELECT count(*) AS stays FROM list_recipients('u1') WHERE channel = 'pagerduty';

-- 6
SELECT remove_recipient(:b);
SELECT count(*) FROM recipient_secrets WHERE recipient_id = :b;
SELECT 'recipient_secrets'::regclass = ANY (extconfig) AS dumped FROM pg_extension WHERE extname = 'pgalert';

-- 7
SELECT add_recipient('u7', 'webhook', 'https://gone.example.com/') AS gone, add_recipient('u7', 'webhook', 'https://kept.example.com/"', :'first') AS kept,
       add_recipient('u7', 'email', 'u7@example.com') AS mail, add_recipient('u8', 'webhook', 'https://other.example.com/') AS other \gset
SELECT rotate_secret(:kept, :'second');
CREATE FUNCTION pg_temp.addresses(alert text) RETURNS TABLE (channel text, address text, secrets integer) LANGUAGE sql AS $$
  SELECT a.key, r ->> 'address', jsonb_array_length(r -> 'secrets')
  FROM (SELECT * FROM claimed WHERE alert_id = alert ORDER BY n DESC LIMIT 1) c, jsonb_each(c.recipients) a, jsonb_array_elements(a.value) r ORDER BY 1, 2
$$;
SELECT deliver_alert('{"id": "g1", "channels": ["webhook", "email"]}', 'u7', 'm');
SELECT pg_temp.claim();
SELECT * FROM pg_temp.addresses('g1');
-- The address of somebody else, and another error, disable nothing.
SELECT pgalert.report(c.claim_id, c.worker, pg_temp.outcomes('g1', '{"email": "delivered"}', jsonb_build_object('recipient_id', :mail))
  || pg_temp.outcomes('g1', '{"webhook": "failed"}', jsonb_build_object('recipient_id', :gone, 'error_class', 'http.410', 'error', '410 Gone', 'permanent', true))
  || pg_temp.outcomes('g1', '{"webhook": "failed"}', jsonb_build_object('recipient_id', :other, 'error_class', 'http.410', 'error', '410 Gone', 'permanent', true))
  || pg_temp.outcomes('g1', '{"webhook": "failed"}', jsonb_build_object('recipient_id', :kept, 'error_class', 'http.4xx', 'error', '404', 'permanent', true)))
FROM claimed c WHERE c.alert_id = 'g1';
SELECT user_id, address, disabled_reason FROM list_recipients() WHERE user_id IN ('u7', 'u8') ORDER BY 1, 2;
SELECT deliver_alert('{"id": "g2", "channels": ["webhook", "email"]}', 'u7', 'm2');
SELECT pg_temp.claim();
SELECT * FROM pg_temp.addresses('g2');
