-- A table like the outbox's payload, users with an address each, and a worker that sends nothing.
CREATE TABLE raw (id bigserial PRIMARY KEY, alert_id text, user_id text, message text, created_at timestamptz DEFAULT now(), data jsonb);
INSERT INTO pgalert.recipients (user_id, channel, address) SELECT 'user-' || i, 'email', 'user' || i || '@example.com' FROM generate_series(0, 99999) i;
ANALYZE pgalert.recipients;

CREATE PROCEDURE fill(thousands integer, channel text DEFAULT 'email') LANGUAGE plpgsql AS $$
BEGIN
  FOR t IN 1 .. thousands LOOP
    PERFORM pgalert.deliver_alerts(ARRAY(SELECT jsonb_build_object(
      'alert', jsonb_build_object('id', gen_random_uuid(), 'name', 'VIX above 30',
                                  'condition', jsonb_build_object('type', 'macro', 'entity', 'VIX', 'op', '>', 'value', 30),
                                  'channels', jsonb_build_array(channel)),
      'user_id', 'user-' || (random() * 99999)::integer, 'message', 'VIX exceeded 30 (current: 32.5) ' || clock_timestamp() || i)
      FROM generate_series(1, 1000) i));
    COMMIT;
  END LOOP;
END
$$;

-- Claims `size` at a time and reports in parts, each in a transaction of its own, until `messages` are done or none is left.
-- Building the outcomes is counted too; a driver does that elsewhere.
CREATE PROCEDURE drain(messages integer, size integer, part integer, INOUT rate double precision DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  keys    uuid[];
  claim   bigint;
  done    integer := 0;
  started timestamptz := clock_timestamp();
BEGIN
  WHILE done < messages LOOP
    SELECT array_agg(c.delivery_key), max(c.claim_id) INTO keys, claim FROM pgalert.claim_batch('bench', size, '60 seconds') c;
    COMMIT;
    EXIT WHEN keys IS NULL;
    FOR start IN 1 .. cardinality(keys) BY part LOOP
      done := done + pgalert.report(claim, 'bench', (
        SELECT jsonb_agg(jsonb_build_object('delivery_key', k, 'channel', 'email', 'outcome', 'delivered', 'host', 'mail.example.com', 'duration_ms', 1.5))
        FROM unnest(keys[start : start + part - 1]) k));
      COMMIT;
    END LOOP;
  END LOOP;
  rate := done / extract(epoch FROM clock_timestamp() - started);
END
$$;

-- Milliseconds of a claim of 500, the median of `times`; what is claimed is given back at the end of each transaction.
CREATE PROCEDURE claim_latency(times integer, INOUT median_ms double precision DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
  took    double precision[];
BEGIN
  FOR t IN 1 .. times LOOP
    started := clock_timestamp();
    PERFORM pgalert.claim_batch('bench', 500, '60 seconds');
    took := took || extract(epoch FROM clock_timestamp() - started) * 1000;
    IF t > 5 THEN COMMIT; ELSE ROLLBACK; END IF;  -- the first ones only warm up
  END LOOP;
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) INTO median_ms FROM unnest(took[6:]) x;
END
$$;
