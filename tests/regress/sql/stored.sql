-- The alert as tables keep it, put together from jsonb as it is stored: to the byte what || makes of it.
--   1. With any number of members, around the 32 of a stride, of every kind and nesting.
--   2. A message or user of its own gives way.
--   3. It is what a single call and a bulk call keep.

CREATE FUNCTION differs(alert jsonb, message text DEFAULT 'It is "30"', user_id text DEFAULT 'ü1') RETURNS boolean LANGUAGE sql AS $$
  SELECT NOT record_image_eq(ROW(r.alert_data), ROW(alert || jsonb_build_object('message', message, 'user_id', user_id)))
         OR r.bytes <> pg_column_size(alert || jsonb_build_object('message', message, 'user_id', user_id))
  FROM pgalert._fire(alert, user_id, message, NULL, directly => false) r
$$;

-- 1
CREATE FUNCTION alert(members integer, first integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT coalesce(jsonb_object_agg(repeat('k', (m * 7 + first) % 11) || m, CASE (m + first) % 9
           WHEN 0 THEN 'null' WHEN 1 THEN 'true' WHEN 2 THEN 'false' WHEN 3 THEN to_jsonb(repeat('é', m)) WHEN 4 THEN to_jsonb(m * 1.5)
           WHEN 5 THEN to_jsonb(10000000000000::numeric ^ (m % 5)) WHEN 6 THEN jsonb_build_array(m, '', jsonb_build_object('x', m, 'yy', NULL))
           WHEN 7 THEN '{}' ELSE jsonb_build_object('deep', jsonb_build_array(jsonb_build_array(-m)), 'text', repeat('x', m)) END), '{}')
         || '{"id": 7}'
  FROM generate_series(1, members) m
$$;
SELECT count(*) AS alerts, count(*) FILTER (WHERE differs(alert(members, first))) AS different
FROM generate_series(0, 140) members, generate_series(0, 8) first;
SELECT differs(jsonb_build_object('id', 1, 'long', repeat('x', 100000))) AS different;

-- 2
SELECT alert, differs(alert) AS different, r.alert_data
FROM unnest(ARRAY['{"id": 1, "message": {"a": [1]}}', '{"id": 1, "user_id": 5}', '{"id": 1, "user_id": "x", "message": null, "z": true}']::jsonb[]) alert,
     pgalert._fire(alert, 'u', 'm', NULL, directly => false) r;

-- 3
SELECT pgalert.deliver_alert('{"id": 1, "channels": ["email"], "rows": [[1.50, "a"], {"b": null}]}', 'single', 'm'),
       (SELECT status FROM pgalert.deliver_alerts(ARRAY['{"alert": {"id": 1, "channels": ["email"], "rows": [[1.50, "a"], {"b": null}]}, "user_id": "bulk", "message": "m"}'::jsonb]));
SELECT user_id, alert_data, alert_data @> '{"rows": [{"b": null}, ["a"]]}' AS is_searched FROM pgalert.outbox ORDER BY message_id;
