\set n random(1, 1000000000000)
\set u random(0, 99999)
INSERT INTO raw (alert_id, user_id, message, data)
VALUES ('alert-' || :n, 'user-' || :u, 'VIX exceeded 30 (current: ' || :n || ')',
        jsonb_build_object('id', 'alert-' || :n, 'name', 'VIX above 30',
                           'condition', jsonb_build_object('type', 'macro', 'entity', 'VIX', 'op', '>', 'value', 30),
                           'channels', jsonb_build_array('email'), 'message', 'VIX exceeded 30 (current: ' || :n || ')', 'user_id', 'user-' || :u));
