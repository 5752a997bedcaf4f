-- Report: what was delivered whole is recorded by a statement of its own, everything else by another; the answer is the same.
--   1. In any order, with or without the names of messages, delivered and failed in one call: each message ends once.
--   2. A repetition finishes nothing.
--   3. A stranger among good outcomes: nothing of the call is recorded, or counted.
--   4. The same for a retry, and for a message with channels done before.
--   5. Of two outcomes of one address that contradict, the failure counts, whichever comes first.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
SELECT name, deliver_alert(jsonb_build_object('id', name, 'channels', channels), 'u1', name)
FROM (VALUES ('a1', '["email"]'::jsonb), ('a2', '["email"]'), ('a3', '["email"]'), ('a4', '["email"]'), ('a5', '["email"]'),
             ('both', '["email", "sms"]'), ('inapp', '["inapp", "email"]')) AS f (name, channels);
SELECT pg_temp.claim(100);
-- tell({"alert", "channel"?, "outcome"?, "named"?} …): reports outcomes of the last claim. named: the message's id plus that number.
CREATE FUNCTION pg_temp.tell(VARIADIC told jsonb[]) RETURNS integer LANGUAGE sql AS $$
  SELECT pgalert.report(min(c.claim_id), min(c.worker), jsonb_agg(
    jsonb_build_object('delivery_key', c.delivery_key, 'channel', coalesce(t ->> 'channel', 'email'), 'outcome', coalesce(t ->> 'outcome', 'delivered'))
    || CASE WHEN t ? 'named' THEN jsonb_build_object('message_id', o.message_id + (t ->> 'named')::integer) ELSE '{}' END))
  FROM unnest(told) t JOIN claimed c ON c.alert_id = t ->> 'alert' AND c.claim_id = (SELECT max(claim_id) FROM claimed)
  JOIN pgalert.outbox o USING (delivery_key, attempt)
$$;

-- 1, 2
SELECT pg_temp.tell('{"alert": "a2"}');
SELECT pg_temp.tell('{"alert": "a2"}') AS again;
SELECT pg_temp.tell('{"alert": "a1"}', '{"alert": "a3", "outcome": "failed"}', '{"alert": "both"}', '{"alert": "inapp"}');
SELECT pg_temp.tell('{"alert": "a1"}', '{"alert": "a3", "outcome": "failed"}', '{"alert": "both"}', '{"alert": "inapp"}') AS again;
SELECT pg_temp.tell('{"alert": "a5", "named": 0}', '{"alert": "a1", "named": 0}');

-- 3
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{"alert": "a4", "named": 0}', '{"alert": "both", "channel": "sms", "named": 7}')$$), E'\n', 1) AS error;
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{"alert": "a4"}', '{"alert": "a4", "named": 0}')$$), E'\n', 1) AS error;
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{"alert": "a4"}', '{"alert": "a5", "channel": "sms"}')$$), E'\n', 1) AS error;
SELECT count(*) AS of_a4 FROM alert_deliveries WHERE alert_id = 'a4';
SELECT value = (SELECT count(*) FROM alert_deliveries) AS counted FROM metrics() WHERE name = 'pgalert_deliveries_total';
SELECT pg_temp.tell('{"alert": "both", "channel": "sms"}', '{"alert": "a4"}');
SELECT count(*) AS open FROM open_claims();
SELECT alert_id, delivery_methods, count(*) FROM alert_deliveries GROUP BY 1, 2 ORDER BY 1;
SELECT alert_id, state, channels FROM alert_dlq;

-- 4
SELECT pg_temp.make_due('a3');
SELECT schedule_retries(10);
SELECT pg_temp.claim(100);
SELECT pg_temp.tell('{"alert": "a3", "named": 0}');
SELECT pg_temp.tell('{"alert": "a3", "named": 0}') AS again;
SELECT alert_id, attempt, delivery_methods FROM alert_deliveries WHERE alert_id = 'a3';
SELECT count(*) AS letters FROM alert_dlq;
SELECT count(*) AS open FROM open_claims();

-- 5
SELECT name, deliver_alert(jsonb_build_object('id', name, 'channels', '["email"]'::jsonb), 'u1', name) FROM (VALUES ('c1'), ('c2')) AS f (name);
SELECT pg_temp.claim(100);
SELECT pg_temp.tell('{"alert": "c1"}', '{"alert": "c1", "outcome": "failed"}', '{"alert": "c2", "outcome": "failed"}', '{"alert": "c2"}');
SELECT alert_id, state, channels FROM alert_dlq ORDER BY 1;
