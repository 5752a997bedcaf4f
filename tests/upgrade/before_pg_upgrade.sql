-- Messages in each state, for pg_upgrade.sh: m1 is delivered, m2 and m3 are in work, m4 waits for its retry, m5 is kept for a
-- person, m6 to m9 wait in the queue, in three lanes and two slots.
INSERT INTO pgalert.policies (name, lane, daily_limit, dedup_window) VALUES ('fast', 'high', NULL, '0'), ('plain', 'normal', NULL, '0'), ('slow', 'low', NULL, '0');
CREATE TABLE fired (alert_id text, delivery_key uuid);
CREATE FUNCTION fire(alert text, priority text) RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email"]'::jsonb, 'priority', priority), 'u1', 'about ' || alert)
$$;
CREATE FUNCTION report_each(outcomes jsonb) RETURNS bigint LANGUAGE sql AS $$
  SELECT sum(pgalert.report(c.claim_id, c.worker, jsonb_build_array(jsonb_build_object('delivery_key', o.delivery_key, 'channel', 'email') || a.value)))
  FROM pgalert.open_claims() c, jsonb_each(outcomes) a JOIN pgalert.outbox o ON o.alert_id = a.key
$$;
SELECT count(fire('m' || n, 'plain')) FROM generate_series(1, 5) n;
SELECT count(*) FROM pgalert.claim_batch('before', 10, '1 hour');
SELECT report_each('{"m1": {"outcome": "delivered"}, "m4": {"outcome": "failed"}, "m5": {"outcome": "failed", "permanent": true}}');
-- What is added up is known by transaction ids of this cluster.
SET search_path = pgalert, public;
SELECT _add_up_stats();
RESET search_path;
SELECT pgalert.rotate_outbox();
SELECT fire('m6', 'fast'), fire('m7', 'plain'), fire('m8', 'plain'), fire('m9', 'slow');
INSERT INTO fired SELECT alert_id, delivery_key FROM pgalert.outbox;
