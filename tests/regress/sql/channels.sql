-- The channels that an alert asks for.
--   1. channels, an object of booleans or an array of names, wins over the legacy fields.
--   2. Without it notify_inapp (default true) and notify_email (default false) count.
--   3. An alert kept in columns is treated the same.
--   4. Anything else is an error that names the key.
SET search_path = pgalert, public;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/errors.sql
\pset null NULL

-- 1
SELECT alert, normalize_channels(alert::jsonb)
FROM (VALUES
  ('{"channels": {"email": true, "slack": false, "my_hook2": true}}'),
  ('{"channels": {}}'),
  ('{"channels": ["slack", "email", "slack"]}'),
  ('{"channels": []}'),
  ('{"channels": {"slack": true}, "notify_inapp": true, "notify_email": true}')) AS alerts(alert);

-- 2
SELECT alert, normalize_channels(alert::jsonb)
FROM (VALUES
  ('{"id": "a1"}'),
  ('{"channels": null}'),
  ('{"notify_inapp": false, "notify_email": true}'),
  ('{"notify_inapp": null, "notify_email": null}'),
  ('{"channels": null, "notify_email": true}')) AS alerts(alert);
SELECT normalize_channels(NULL::jsonb);

-- 3
SELECT channels, inapp, email, normalize_channels(channels::jsonb, inapp, email)
FROM (VALUES
  (NULL, NULL::boolean, NULL::boolean),
  (NULL, false, true),
  ('null', true, true),
  ('["webhook"]', true, true),
  ('{"inapp": true, "sms": false}', false, true)) AS parts(channels, inapp, email);

-- 4
\pset format unaligned
\pset tuples_only on
SELECT alert, pg_temp.error_of(format('SELECT pgalert.normalize_channels(%L::jsonb)', alert))
FROM (VALUES
  ('[]'),
  ('"email"'),
  ('7'),
  ('{"channels": "email"}'),
  ('{"channels": ""}'),
  ('{"channels": true}'),
  ('{"channels": 3}'),
  ('{"channels": {"email": 1}}'),
  ('{"channels": {"email": "true"}}'),
  ('{"channels": {"email": null}}'),
  ('{"channels": {"email": {"to": "a@example.com"}}}'),
  ('{"channels": {"E-mail": true}}'),
  ('{"channels": {"": true}}'),
  ('{"channels": {"été": true}}'),
  ('{"channels": ["2fa"]}'),
  ('{"channels": ["email", 7]}'),
  ('{"channels": [["email"]]}'),
  ('{"channels": [null]}'),
  ('{"notify_inapp": 1}'),
  ('{"notify_email": "yes"}'),
  ('{"channels": ["email"], "notify_email": "yes"}')) AS alerts(alert);
SELECT pg_temp.error_of($$SELECT pgalert.normalize_channels('"email"', true, true)$$);
SELECT pg_temp.error_of($$SELECT pgalert.normalize_channels(jsonb_build_array(repeat('É', 1000)), true, true)$$);
SELECT pg_temp.error_of($$SELECT pgalert.normalize_channels(('{"channels": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb)$$);
