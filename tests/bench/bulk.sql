\set n random(1, 1000000000)
SELECT count(*) FROM pgalert.deliver_alerts(ARRAY(SELECT jsonb_build_object(
  'alert', jsonb_build_object('id', 'alert-' || :n::integer || '-' || i, 'name', 'VIX above 30',
                              'condition', jsonb_build_object('type', 'macro', 'entity', 'VIX', 'op', '>', 'value', 30),
                              'channels', jsonb_build_array('email')),
  'user_id', 'user-' || (:n::integer + i) % 100000, 'message', 'VIX exceeded 30 (current: 32.5) ' || :n::integer || '-' || i)
  FROM generate_series(1, 1000) i));
