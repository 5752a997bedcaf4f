-- Rotation of the outbox: what is done with is truncated, what is needed stays.
--   1. rotate_outbox() empties another slot and lets inserts go there; over many turns no message is lost or comes twice.
--   2. It refuses a slot with an unclaimed message, in whatever lane, and one with messages of an open claim; it then tries
--      the other. Open claims of other slots do not matter.
--   3. The cursor of an idle lane outlives its slot.
--   4. Neither an own uncommitted message nor one whose window is not finished is truncated. A rotation that is rolled back
--      does no harm.
--   5. maintain() rotates when the slot in use has grown to setting rotate_bytes, and not before.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, lane, daily_limit, dedup_window) VALUES ('fast', 'high', NULL, '0'), ('plain', 'normal', NULL, '0'), ('slow', 'low', NULL, '0');
CREATE FUNCTION pg_temp.fire(alert text, priority text DEFAULT 'plain') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', '["email"]'::jsonb, 'priority', priority), 'u1', 'about ' || alert)
$$;
CREATE FUNCTION pg_temp.in_slots() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(slot || ':' || alert_id, ' ' ORDER BY slot, message_id) FROM pgalert.outbox
$$;

-- 1
SELECT pg_temp.fire('a1');
SELECT rotate_outbox() AS to_an_empty_one;
SELECT pg_temp.fire('a2');
SELECT pg_temp.in_slots();
SELECT pg_temp.claim();
SELECT pg_temp.answer('a1', '{"email": "delivered"}'), pg_temp.answer('a2', '{"email": "failed"}');
SELECT rotate_outbox(), pg_temp.in_slots();
SELECT rotate_outbox(), pg_temp.in_slots();
SELECT rotate_outbox(), pg_temp.in_slots();
SELECT slot, count(*) AS claims FROM claims GROUP BY 1 ORDER BY 1;
CREATE PROCEDURE turns(times integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR turn IN 1 .. times LOOP
    PERFORM pg_temp.fire('turn' || turn, (ARRAY['fast', 'plain', 'slow'])[1 + turn * 5 / 3 % 3]) FROM generate_series(1, 1 + turn % 3);
    COMMIT;
    IF turn % 2 = 0 THEN PERFORM pg_temp.claim(1 + turn % 5); END IF;
    COMMIT;
    IF turn % 3 = 0 THEN
      PERFORM pgalert.report(c.claim_id, c.worker, jsonb_build_array(jsonb_build_object('delivery_key', c.delivery_key, 'channel', 'email', 'outcome', 'delivered')))
      FROM claimed c WHERE c.n > turn / 2 AND EXISTS (SELECT FROM pgalert.open_claims() o WHERE o.claim_id = c.claim_id);
    END IF;
    COMMIT;
    PERFORM pgalert.rotate_outbox();
    COMMIT;
  END LOOP;
  LOOP
    EXIT WHEN pg_temp.claim() IS NULL;
    COMMIT;
  END LOOP;
END
$$;
SELECT last_value AS messages_before FROM message_id \gset
TRUNCATE claimed;
CALL turns(90);
SELECT count(*) = (SELECT last_value - :messages_before FROM message_id) AS all, count(DISTINCT delivery_key) = count(*) AS each_once FROM claimed WHERE alert_id LIKE 'turn%';
SELECT sum(report(c.claim_id, c.worker, jsonb_build_array(jsonb_build_object('delivery_key', c.delivery_key, 'channel', 'email', 'outcome', 'delivered')))) > 0 AS reported
FROM claimed c WHERE EXISTS (SELECT FROM open_claims() o WHERE o.claim_id = c.claim_id);
SELECT count(*) AS open FROM open_claims();
SELECT count(DISTINCT delivery_key) = (SELECT last_value - :messages_before FROM message_id) AS all_delivered, count(DISTINCT delivery_key) = count(*) AS each_once FROM alert_deliveries WHERE alert_id LIKE 'turn%';

-- 2
SELECT rotate_outbox() IS NOT NULL AND rotate_outbox() IS NOT NULL AND rotate_outbox() IS NOT NULL AS all_empty, pg_temp.in_slots();
ALTER SEQUENCE outbox_slot RESTART;
SELECT pg_temp.fire('b0', 'slow');
SELECT rotate_outbox();
SELECT pg_temp.fire('b1', 'fast');
SELECT rotate_outbox();
SELECT pg_temp.fire('b2');
SELECT rotate_outbox() AS all_unclaimed;
SELECT pg_temp.claim();
SELECT pg_temp.answer('b1', '{"email": "delivered"}');
SELECT rotate_outbox() AS tries_the_other, pg_temp.in_slots();
SELECT pg_temp.claim(), pg_temp.claim();
SELECT rotate_outbox() AS open_claims_in_both, pg_temp.in_slots();
SELECT pg_temp.answer('b2', '{"email": "delivered"}');
SELECT rotate_outbox() AS b0_in_work_elsewhere, pg_temp.in_slots();
SELECT pg_temp.answer('b0', '{"email": "delivered"}');
SELECT rotate_outbox(), rotate_outbox(), pg_temp.in_slots();

-- 3: low is idle while the others go on
SELECT pg_temp.fire('c0', 'slow');
SELECT pg_temp.claim();
SELECT pg_temp.answer('c0', '{"email": "delivered"}');
SELECT claim_id AS low_cursor FROM _cursor(2::smallint) \gset
CREATE PROCEDURE busy(times integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR turn IN 1 .. times LOOP
    PERFORM pg_temp.fire('busy' || turn);
    COMMIT;
    PERFORM pg_temp.claim();
    COMMIT;
    PERFORM pg_temp.answer('busy' || turn, '{"email": "delivered"}');
    PERFORM pgalert.rotate_outbox();
    COMMIT;
  END LOOP;
END
$$;
CALL busy(7);
SELECT claim_id = :low_cursor AS survives FROM _cursor(2::smallint);
SELECT count(*) < 7 AS others_are_gone FROM claims;
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS it_has_ended;
SELECT pg_temp.fire('c1', 'slow');
SELECT pg_temp.claim();
SELECT pg_temp.answer('c1', '{"email": "delivered"}');

-- 4
ALTER SEQUENCE outbox_slot RESTART;
SELECT pg_temp.fire('d0');
SELECT pg_temp.claim();
SELECT pg_temp.answer('d0', '{"email": "delivered"}');
BEGIN;
SELECT pg_temp.fire('own');
SELECT pg_temp.claim() AS not_visible;
SELECT rotate_outbox(), rotate_outbox(), rotate_outbox(), pg_temp.in_slots();
COMMIT;
SELECT pg_temp.fire('after');
SELECT pg_temp.claim(1) AS half_of_the_window;
SELECT pg_temp.answer('own', '{"email": "delivered"}');
SELECT rotate_outbox(), rotate_outbox(), rotate_outbox(), pg_temp.in_slots();
SELECT pg_temp.claim();
SELECT pg_temp.answer('after', '{"email": "delivered"}');
BEGIN;
SELECT rotate_outbox() IS NOT NULL AS rotated;
ROLLBACK;
SELECT pg_temp.fire('d1');
SELECT rotate_outbox() IS NOT NULL AS rotated;
SELECT pg_temp.fire('d2');
SELECT pg_temp.claim();
SELECT pg_temp.answer('d1', '{"email": "delivered"}'), pg_temp.answer('d2', '{"email": "delivered"}');

-- 5
SELECT maintain() ? 'rotated_to' AS too_small;
SELECT set_setting('rotate_bytes', '131072');
SELECT count(pg_temp.fire('e' || n)) FROM generate_series(1, 500) n;
SELECT last_value AS slot_before FROM outbox_slot \gset
SELECT maintain() ->> 'rotated_to' <> :'slot_before' AS rotated;
SELECT maintain() ? 'rotated_to' AS small_again;
SELECT array_length(string_to_array(pg_temp.claim(), ' '), 1) AS claimed_all_the_same;
