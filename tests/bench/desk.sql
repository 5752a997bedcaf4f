-- Many dead letters and deliveries, and the time that each function of the desk takes among them.
CREATE PROCEDURE fill_desk(letters integer, deliveries integer) LANGUAGE plpgsql AS $$
DECLARE
  part CONSTANT integer := 100000;
BEGIN
  FOR start IN 0 .. letters - 1 BY part LOOP
    INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, retry_count, state, channels, next_retry_at, priority,
                                   content_hash, delivery_key, accepted_at, host)
    SELECT 'alert-' || i % 5000, 'user-' || i % 100000, jsonb_build_object('name', 'VIX above 30', 'message', 'VIX exceeded 30 (' || i || ')', 'user_id', 'user-' || i % 100000),
           format('email: 550 5.1.1 <user%s@example.com> unknown, as of rule %s', i, i % 40), (ARRAY['smtp.5xx', 'timeout', 'http.5xx', 'dns'])[i % 4 + 1], i % 6,
           (ARRAY['waiting', 'exhausted', 'permanent', 'expired'])[i % 4 + 1], ARRAY[(ARRAY['email', 'webhook', 'slack'])[i % 3 + 1]],
           CASE WHEN i % 4 = 0 THEN now() + i * interval '1 second' END, 'normal', md5(i::text), pgalert._message_key(), now(), 'host-' || i % 50 || '.example.com'
    FROM generate_series(start + 1, least(start + part, letters)) i;
    COMMIT;
  END LOOP;
  FOR start IN 0 .. deliveries - 1 BY part LOOP
    INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivered_at, segment, delivery_key, attempt, priority, accepted_at)
    SELECT 'alert-' || i % 5000, 'user-' || i % 100000, md5(i::text), CASE i % 3 WHEN 0 THEN '["email"]' ELSE '["inapp", "webhook"]' END::jsonb,
           at, i / 65536, gen_random_uuid(), 1 + (i % 50 = 0)::integer, 'normal', at - (i % 1000) * interval '3 milliseconds'
    FROM generate_series(start + 1, least(start + part, deliveries)) i CROSS JOIN LATERAL (SELECT now() - (i % 600000) * interval '1 second' AS at OFFSET 0) AS t;
    COMMIT;
  END LOOP;
  PERFORM pgalert.maintain();
END
$$;

-- The slowest of five calls, in milliseconds; the first one is not counted.
CREATE PROCEDURE time_of(call text, INOUT worst_ms double precision DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
BEGIN
  FOR t IN 0 .. 5 LOOP
    started := clock_timestamp();
    EXECUTE 'SELECT count(*) FROM (SELECT * FROM pgalert.' || call || ') AS rows';
    IF t > 0 THEN worst_ms := greatest(worst_ms, round(extract(epoch FROM clock_timestamp() - started)::numeric * 1000, 1)); END IF;
    COMMIT;
  END LOOP;
END
$$;
