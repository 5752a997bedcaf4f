-- What pg_upgrade.sh must find. A message lost, or one that comes twice, is an error.
CREATE FUNCTION is(what text, seen text, wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF seen IS DISTINCT FROM wanted THEN
    RAISE EXCEPTION '%: % and not %', what, seen, wanted;
  END IF;
END
$$;
CREATE FUNCTION work() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  claim record;
  names text[] := '{}';
BEGIN
  LOOP
    SELECT b.claim_id, array_agg(b.alert_id) AS alerts,
           jsonb_agg(jsonb_build_object('delivery_key', b.delivery_key, 'channel', 'email', 'outcome', 'delivered')) AS outcomes
    INTO claim FROM pgalert.claim_batch('after', 10, '1 hour') b GROUP BY 1;
    EXIT WHEN NOT FOUND;
    PERFORM pgalert.report(claim.claim_id, 'after', claim.outcomes);
    names := names || claim.alerts;
  END LOOP;
  RETURN (SELECT string_agg(n, ' ' ORDER BY n) FROM unnest(names) n);
END
$$;
CREATE FUNCTION counted() RETURNS text LANGUAGE sql AS $$
  SELECT format('%s delivered, %s failed, %s', sum(deliveries), sum(failed), (SELECT string_agg(letters || ' ' || state, ', ' ORDER BY state) FROM pgalert.dlq_states WHERE letters > 0))
  FROM pgalert.delivery_stats_hourly
$$;
SELECT is('counted before', counted(), '1 delivered, 2 failed, 1 permanent, 1 waiting');
SELECT is('held', pgalert.hold_reason(), NULL);
SELECT is('in work', (SELECT string_agg(messages_left || ' by ' || worker, ', ') FROM pgalert.open_claims()), '2 by before');
SELECT is('claimed at first', work(), 'm6 m7 m8 m9');
SELECT is('reported by the worker that held it', report_each('{"m2": {"outcome": "delivered"}}')::text, '1');
UPDATE pgalert.claims SET lease_until = now() - interval '1 second' WHERE worker = 'before';
SELECT setval('pgalert.leases_searched_at', 1);
SELECT is('taken over', work(), 'm3');
UPDATE pgalert.alert_dlq SET next_retry_at = now() WHERE state = 'waiting';
SELECT pgalert.schedule_retries();
SELECT is('retried', work(), 'm4');
SELECT is('kept for a person', (SELECT string_agg(alert_id || ' ' || state, ', ') FROM pgalert.alert_dlq), 'm5 permanent');
SELECT is('delivered', (SELECT string_agg(alert_id, ' ' ORDER BY alert_id) FROM pgalert.alert_deliveries JOIN fired USING (alert_id, delivery_key)), 'm1 m2 m3 m4 m6 m7 m8 m9');
SELECT is('fired anew', fire('m10', 'plain'), 'queued');
SELECT is('claimed anew', work(), 'm10');
SELECT is('rotations', (SELECT count(pgalert.rotate_outbox())::text FROM generate_series(1, 3)), '3');
SELECT is('rows left', (SELECT count(*)::text FROM pgalert.outbox), '0');
SELECT is('counted, and not added up', counted(), '9 delivered, 2 failed, 1 permanent');
SELECT is('upkeep', (pgalert.maintain() ? 'partitions_added')::text, 'true');
SELECT is('counted', counted(), '9 delivered, 2 failed, 1 permanent');
SELECT is('added up', (SELECT sum(deliveries)::text FROM pgalert.delivery_stats), '9');
