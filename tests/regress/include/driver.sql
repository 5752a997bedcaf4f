-- A driver in SQL, for tests. What it claims it keeps in table claimed; messages are named by their alert_id.
CREATE TEMPORARY TABLE claimed (n integer GENERATED ALWAYS AS IDENTITY, claim_id bigint, worker text, alert_id text, delivery_key uuid,
                                channels text[], recipients jsonb, attempt integer, dlq_id uuid);

-- claim(max_messages, worker): what claim_batch gives, as "alert:channels …" in the order given; NULL when it gives nothing.
CREATE FUNCTION pg_temp.claim(max_messages integer DEFAULT 1000, worker text DEFAULT 'w1') RETURNS text LANGUAGE sql AS $$
  WITH batch AS (
    INSERT INTO claimed (claim_id, worker, alert_id, delivery_key, channels, recipients, attempt, dlq_id)
    SELECT b.claim_id, claim.worker, b.alert_id, b.delivery_key, b.channels, b.recipients, b.attempt, b.dlq_id
    FROM pgalert.claim_batch(claim.worker, claim.max_messages, '1 hour') b
    RETURNING *)
  SELECT string_agg(alert_id || ':' || (SELECT string_agg(c, '+' ORDER BY c) FROM unnest(channels) c), ' ' ORDER BY n) FROM batch
$$;

-- The outcomes {channel: outcome} of the message of an alert, as claimed last; more is added to each.
CREATE FUNCTION pg_temp.outcomes(alert text, by_channel jsonb, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_agg(jsonb_build_object('delivery_key', c.delivery_key, 'channel', o.key, 'outcome', o.value) || more)
  FROM (SELECT * FROM claimed WHERE alert_id = alert ORDER BY n DESC LIMIT 1) c, jsonb_each_text(by_channel) o
$$;

-- answer(alert, {channel: outcome}): reports them by the worker that claimed the message last.
CREATE FUNCTION pg_temp.answer(alert text, by_channel jsonb, more jsonb DEFAULT '{}') RETURNS integer LANGUAGE sql AS $$
  SELECT pgalert.report(c.claim_id, c.worker, pg_temp.outcomes(alert, by_channel, more))
  FROM claimed c WHERE c.alert_id = alert ORDER BY n DESC LIMIT 1
$$;

-- make_due(alert): its waiting letters are due. A later transaction than the one that selects them can claim them.
CREATE FUNCTION pg_temp.make_due(alert text) RETURNS bigint LANGUAGE sql AS $$
  WITH due AS (UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE alert_id = alert AND state = 'waiting' RETURNING 1)
  SELECT count(*) FROM due
$$;

-- expire_leases(): all leases run out, and the next claim looks for them at once.
CREATE FUNCTION pg_temp.expire_leases() RETURNS void LANGUAGE sql AS $$
  UPDATE pgalert.claims SET lease_until = clock_timestamp() - interval '1 second' WHERE isfinite(lease_until);
  SELECT setval('pgalert.leases_searched_at', 1);
$$;

-- reached(alert): its deliveries.
CREATE FUNCTION pg_temp.reached(alert text) RETURNS TABLE (attempt integer, channels text) LANGUAGE sql AS $$
  SELECT d.attempt, (SELECT string_agg(m, '+' ORDER BY m) FROM jsonb_array_elements_text(d.delivery_methods) m)
  FROM pgalert.alert_deliveries d WHERE d.alert_id = alert ORDER BY d.attempt, 2
$$;

-- dead_letters(alert): its letters, one a line.
CREATE FUNCTION pg_temp.dead_letters(alert text) RETURNS TABLE (state text, channels text[], owed_recipients jsonb, retry_count integer,
                                                                error_class text, error_message text, due_in interval)
LANGUAGE sql AS $$
  SELECT d.state, d.channels, d.owed_recipients, d.retry_count, d.error_class, d.error_message,
         date_trunc('minute', d.next_retry_at - clock_timestamp() + interval '30 seconds')
  FROM pgalert.alert_dlq d WHERE d.alert_id = alert ORDER BY d.channels, d.state
$$;

-- The time zone of days is set so that it is about noon now, and no test meets midnight.
DO $$
DECLARE
  hours integer := 12 - extract(hour FROM now() AT TIME ZONE 'UTC');
BEGIN
  PERFORM pgalert.set_setting('time_zone', 'Etc/GMT' || to_char(-hours, 'SGFM99'));
END
$$;
