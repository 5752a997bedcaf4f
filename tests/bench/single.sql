\set n random(1, 1000000000000)
\set u random(0, 99999)
SELECT pgalert.deliver_alert(
  jsonb_build_object('id', 'alert-' || :n, 'name', 'VIX above 30',
                     'condition', jsonb_build_object('type', 'macro', 'entity', 'VIX', 'op', '>', 'value', 30),
                     'channels', jsonb_build_array('email')),
  'user-' || :u, 'VIX exceeded 30 (current: ' || :n || ')');
