-- Rotate: truncate a slot in which nothing is needed any more, and let inserts go there. This is what keeps the queue
-- free of dead rows whatever transactions are open elsewhere.

-- True when no message of the slot is still to be claimed. Exact only under a lock that keeps writers out of the slot:
-- then each of its transactions has ended, and a row is unclaimed when the cursor's window has it behind its position, or
-- hi does not see it. Probes of the index, no scan.
CREATE FUNCTION _slot_is_claimed(slot smallint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  last claims;
BEGIN
  FOR lane IN 0 .. 2 LOOP
    last := _cursor(lane::smallint);
    PERFORM FROM outbox o WHERE o.slot = _slot_is_claimed.slot AND o.lane = last.lane AND o.xid >= pg_snapshot_xmax(last.hi) LIMIT 1;
    IF FOUND THEN RETURN false; END IF;
    PERFORM FROM pg_snapshot_xip(last.hi) x
      CROSS JOIN LATERAL (SELECT FROM outbox o WHERE o.slot = _slot_is_claimed.slot AND o.lane = last.lane AND o.xid = x LIMIT 1) AS o LIMIT 1;
    IF FOUND THEN RETURN false; END IF;
    PERFORM FROM _window_ranges(last.lo::text, last.hi::text, last.upto_xid::text, last.upto_id) AS r
      CROSS JOIN LATERAL (SELECT FROM outbox o
                          WHERE o.slot = _slot_is_claimed.slot AND o.lane = last.lane
                            AND (o.xid, o.message_id) > (r.from_xid::xid8, r.from_id) AND o.xid < r.below_xid::xid8 LIMIT 1) AS o LIMIT 1;
    IF FOUND THEN RETURN false; END IF;
  END LOOP;
  RETURN true;
END
$$;

-- Locks a slot against everybody and checks that it may go. Never waits: behind a waiting lock all claims would stand
-- still. A slot that may not go is let go of by the exception, which undoes the locks of its block.
CREATE FUNCTION _try_lock_slot(slot smallint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  CASE slot
    WHEN 0 THEN LOCK TABLE outbox_0, claims_0, claim_log_0 IN ACCESS EXCLUSIVE MODE NOWAIT;
    WHEN 1 THEN LOCK TABLE outbox_1, claims_1, claim_log_1 IN ACCESS EXCLUSIVE MODE NOWAIT;
    WHEN 2 THEN LOCK TABLE outbox_2, claims_2, claim_log_2 IN ACCESS EXCLUSIVE MODE NOWAIT;
  END CASE;
  LOCK TABLE lane_high, lane_normal, lane_low IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
  IF (SELECT last_value FROM outbox_slot) = slot
     OR EXISTS (SELECT FROM _open_claims() o WHERE o.slot = _try_lock_slot.slot OR _try_lock_slot.slot BETWEEN o.first_slot AND o.last_slot)
     OR NOT _slot_is_claimed(slot) THEN
    RAISE lock_not_available;
  END IF;
  RETURN true;
EXCEPTION WHEN lock_not_available THEN
  RETURN false;
END
$$;

CREATE FUNCTION rotate_outbox() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  current smallint;
  target    smallint;
  cursors   claims[];
  last      claims;
BEGIN
  PERFORM _require_read_committed('rotate_outbox');
  IF hold_reason() IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT last_value INTO current FROM outbox_slot;
  FOR step IN 1 .. 2 LOOP  -- a slot that somebody pins must not stop the other
    target := (current + step) % 3;
    CONTINUE WHEN NOT _try_lock_slot(target);
    cursors := ARRAY(SELECT c FROM generate_series(0, 2) lane, _cursor(lane::smallint) c WHERE c.slot = target AND c.claim_id > 0);
    EXECUTE format('TRUNCATE outbox_%s, claims_%s, claim_log_%s', target, target, target);
    FOREACH last IN ARRAY cursors LOOP  -- a lane's cursor outlives its slot
      last.messages := 0;               -- as a mere position: the log that said that its messages are done is gone
      INSERT INTO claims SELECT last.*;
    END LOOP;
    PERFORM setval('pgalert.outbox_slot', target);
    RETURN target;
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rotate_outbox() IS 'Truncates a slot of the outbox in which nothing is needed and lets inserts go there. Returns the slot, or NULL where none could be had now (in use, still needed, or held). Never waits for a lock. READ COMMITTED only. maintain() calls it when the slot in use is worth it.';
