-- The alert as tables keep it, put together from jsonb as it is stored: to the byte what || makes of it.
--   1. With any number of members, around the 32 of a stride, of every kind and nesting.
--   2. A message or user of its own gives way.
--   3. It is what a single call and a bulk call keep.
-- And the alert as it is read, from jsonb as it is stored: as its text would be read.
--   4. Its size is that of its text, whatever it is stored in.
--   5. Its levels are counted, brackets in texts are not.
--   6. A number is what its text is: as an id, and in the hash.
--   7. A bulk call's rows are those of its elements, more than work_mem holds.
-- And what is made without an alert: to the byte what jsonb's own input makes.
--   8. The addresses that a claim gives, with numbers of several digits to the base of 10,000, and the channels of a delivery.

-- What is kept of an alert, whatever was fired before.
CREATE FUNCTION kept(alert jsonb, message text DEFAULT 'm', user_id text DEFAULT 'u') RETURNS pgalert.outbox LANGUAGE plpgsql AS $$
DECLARE
  message_kept pgalert.outbox;
BEGIN
  DELETE FROM pgalert.dedup_keys;
  PERFORM pgalert.deliver_alert(alert, user_id, message);
  SELECT o.* INTO STRICT message_kept FROM pgalert.outbox o WHERE o.lane = 1 AND o.xid = pg_current_xact_id() AND o.message_id = currval('pgalert.message_id');
  RETURN message_kept;
END
$$;
CREATE FUNCTION differs(alert jsonb, message text DEFAULT 'It is "30"', user_id text DEFAULT 'ü1') RETURNS boolean LANGUAGE sql AS $$
  SELECT NOT record_image_eq(ROW(r.alert_data), ROW(alert || jsonb_build_object('message', message, 'user_id', user_id)))
         OR r.bytes <> pg_column_size(alert || jsonb_build_object('message', message, 'user_id', user_id))
  FROM kept(alert, message, user_id) r
$$;

-- 1
CREATE FUNCTION alert(members integer, first integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT coalesce(jsonb_object_agg(repeat('k', (m * 7 + first) % 11) || m, CASE (m + first) % 9
           WHEN 0 THEN 'null' WHEN 1 THEN 'true' WHEN 2 THEN 'false' WHEN 3 THEN to_jsonb(repeat('é', m)) WHEN 4 THEN to_jsonb(m * 1.5)
           WHEN 5 THEN to_jsonb(10000000000000::numeric ^ (m % 5)) WHEN 6 THEN jsonb_build_array(m, '', jsonb_build_object('x', m, 'yy', NULL))
           WHEN 7 THEN '{}' ELSE jsonb_build_object('deep', jsonb_build_array(jsonb_build_array(-m)), 'text', repeat('x', m)) END), '{}')
         || '{"id": 7, "channels": ["email"]}'
  FROM generate_series(1, members) m
$$;
SELECT count(*) AS alerts, count(*) FILTER (WHERE differs(alert(members, first))) AS different
FROM generate_series(0, 140) members, generate_series(0, 8) first;
SELECT differs(jsonb_build_object('id', 1, 'notify_email', true, 'long', repeat('x', 100000))) AS different;

-- 2
SELECT alert, differs(alert) AS different, r.alert_data
FROM unnest(ARRAY['{"message": {"a": [1]}}', '{"user_id": 5}', '{"user_id": "x", "message": null, "z": true}']::jsonb[]) more,
     CAST(more || '{"id": 1, "channels": ["email"]}' AS jsonb) alert, kept(alert) r;

-- 3
SELECT pgalert.deliver_alert('{"id": 1, "channels": ["email"], "rows": [[1.50, "a"], {"b": null}]}', 'single', 'm'),
       (SELECT status FROM pgalert.deliver_alerts(ARRAY['{"alert": {"id": 1, "channels": ["email"], "rows": [[1.50, "a"], {"b": null}]}, "user_id": "bulk", "message": "m"}'::jsonb]));
SELECT user_id, alert_data, alert_data @> '{"rows": [{"b": null}, ["a"]]}' AS is_searched FROM pgalert.outbox WHERE user_id IN ('single', 'bulk') ORDER BY message_id;

-- 4
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/errors.sql
CREATE FUNCTION sized(filler jsonb, bytes integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT o || jsonb_build_object('pad', repeat('x', bytes - octet_length((o || '{"pad": ""}')::text)))
  FROM (SELECT jsonb_build_object('id', 1, 'channels', '["email"]'::jsonb, 'filler', filler)) AS filled (o)
$$;
CREATE TABLE fillers (what text, filler jsonb);
INSERT INTO fillers VALUES
  ('nothing', 'null'),
  ('escapes', to_jsonb(repeat(E'"\\\n\x01\x1f\b\f\r\t/é\x7f', 20000))),
  ('keys with escapes', (SELECT jsonb_object_agg(repeat(E'\x01', 10 + n % 3) || n, n) FROM generate_series(1, 9000) n)),
  ('large numbers', (SELECT jsonb_agg(1e131000::numeric) FROM generate_series(1, 7))),
  ('small numbers', (SELECT jsonb_agg('-1e-16000'::numeric) FROM generate_series(1, 60))),
  ('all kinds', (SELECT jsonb_agg(jsonb_build_array(n, -n * 0.125, NULL, n % 2 = 0, '{}'::jsonb, jsonb_build_object('a', '[]'::jsonb))) FROM generate_series(1, 9000) n));
SELECT what, length(alert_data ->> 'pad') > 0 AS is_padded, alert_id
FROM fillers, kept(sized(filler, 1048576)) ORDER BY what;
SELECT what, pg_temp.error_of(format($$SELECT pgalert.deliver_alert(sized((SELECT filler FROM fillers WHERE what = %L), 1048577), 'u', 'm')$$, what))
FROM fillers ORDER BY what;

-- 5
CREATE FUNCTION nested(levels integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', '[[{"[', 'notify_email', true, 'deep', (repeat('[{"]": ', levels / 2) || '[]' || repeat('}]', levels / 2))::jsonb)
$$;
SELECT alert_id FROM kept(nested(98), repeat('[', 200));
SELECT pg_temp.error_of('SELECT pgalert.deliver_alert(nested(100), ''u'', ''m'')');
SELECT pg_temp.error_of('SELECT pgalert._enabled_channels(nested(3000))');

-- 6
CREATE TABLE numbers (number numeric);
INSERT INTO numbers SELECT (sign || mantissa || 'e' || exponent)::numeric
FROM unnest('{"",-}'::text[]) sign, unnest('{0,0.00,1,5.0,10000,9999.9999,12345678.87654321,100010001.0001,0.1,0.00012345}'::text[]) mantissa,
     generate_series(-70, 70) exponent;
INSERT INTO numbers VALUES (1e131071), (-1e131071), ('1e-16383'), (1e255), (1e256), (1e257), ('1e-256'), ('1e-257'), (0.1::numeric(80, 64)), (1::numeric(80, 63));
SELECT count(*) AS numbers, count(*) FILTER (WHERE r.alert_id <> number::text) AS read_as_others
FROM numbers, kept(jsonb_build_object('id', number, 'notify_email', true)) r WHERE length(number::text) <= 255;
SELECT count(*) AS numbers, count(*) FILTER (WHERE pgalert.compute_content_hash(to_jsonb(number)) <> md5(number::text)) AS hashed_as_others
FROM numbers WHERE scale(number) = 0 OR scale(number) = 1 AND abs(number) BETWEEN 1 AND 1e14;

TRUNCATE pgalert.outbox;

-- 7
SET work_mem = '64kB';
SELECT count(*) AS rows, count(DISTINCT message_key), sum(r.alert_id::integer), bool_and(alert_data ->> 'message' = r.message AND r.user_id = 'u' || r.alert_id) AS is_theirs
FROM pgalert._read_firings(ARRAY(SELECT jsonb_build_object('alert', jsonb_build_object('id', n, 'channels', '["sms", "email"]'::jsonb), 'user_id', 'u' || n, 'message', 'm' || n) FROM generate_series(1, 5000) n)) r;
SELECT alert_id, user_id, channels FROM pgalert._read_firings('{}') r;

-- 8
SELECT setval(pg_get_serial_sequence('pgalert.recipients', 'recipient_id'), 9900) AS before_10000;
SELECT count(pgalert.add_recipient(u, c, repeat('é', n % 50) || n || '@example.com', CASE WHEN n % 5 = 0 THEN 'whsec_' || repeat('A', 32) END))
FROM unnest('{single,bulk}'::text[]) u, unnest('{email,sms,webhook}'::text[]) c, generate_series(1, 70) n;
SELECT count(pgalert.deliver_alert(jsonb_build_object('id', c::text, 'channels', c), u, c::text))
FROM unnest('{single,bulk,nobody}'::text[]) u, unnest(ARRAY['["sms"]', '["inapp", "email"]', '["sms", "email", "webhook"]']::jsonb[]) c;
SELECT user_id, channels, (SELECT sum(jsonb_array_length(a)) FROM jsonb_each(recipients) AS e (c, a)) AS addresses, record_image_eq(ROW(recipients), ROW(recipients::text::jsonb)) AS as_any
FROM pgalert.claim_batch('w', 100, '1 hour');
SELECT count(pgalert.report((SELECT max(claim_id) FROM pgalert.claims), 'w', jsonb_build_array(jsonb_build_object('delivery_key', delivery_key, 'channel', channels[1], 'outcome', 'delivered'))))
FROM pgalert.outbox WHERE cardinality(channels) = 1;
SELECT delivery_methods, count(*), bool_and(record_image_eq(ROW(delivery_methods), ROW(delivery_methods::text::jsonb))) AS as_any FROM pgalert.alert_deliveries GROUP BY 1 ORDER BY 1;
