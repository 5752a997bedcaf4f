-- Claim: hand a part of a lane to one worker, under a lease. Appends one row to claims, touches no message.

CREATE FUNCTION _require_read_committed(what text) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION '% needs the isolation level READ COMMITTED', what USING ERRCODE = 'invalid_transaction_state',
      DETAIL = format('This transaction is %s: its snapshot is older than the locks that it takes.', upper(current_setting('transaction_isolation'))),
      HINT = 'Call it in a transaction of its own, of that level. Where default_transaction_isolation is another: ALTER ROLE ... SET default_transaction_isolation = ''read committed''.';
  END IF;
END
$$;

CREATE FUNCTION _check_lease(lease interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF lease IS NULL OR lease NOT BETWEEN '1 millisecond' AND '1 day' THEN
    RAISE EXCEPTION 'lease is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(lease::text, 'NULL')), HINT = 'Give an interval of up to 1 day, such as ''60 seconds''.';
  END IF;
END
$$;

-- Locks the lanes until the end of the transaction, always in the order high, normal, low.
CREATE FUNCTION _lock_lanes() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_lock_lanes_wrapper';

CREATE FUNCTION _newest_claim(lane smallint) RETURNS claims
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', '_newest_claim_wrapper';

-- The newest claim of a lane that is no take-over: behind it nothing has been claimed. Before the first claim, a window
-- that has seen no transaction.
CREATE FUNCTION _cursor(lane smallint) RETURNS claims
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  cursor_row claims := _newest_claim(lane);
BEGIN
  IF cursor_row.claim_id IS NULL THEN
    cursor_row := ROW(0, lane, NULL, NULL, 0, '3:3:', '3:3:', '0', 0, '0', 0, 0, NULL, NULL, 0, '', '-infinity', '-infinity')::claims;
  END IF;
  RETURN cursor_row;
END
$$;

-- Claims that have not ended, oldest first.
CREATE FUNCTION _open_claims() RETURNS SETOF claims
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
  SELECT c.* FROM claims c
  WHERE c.claim_id >= (SELECT coalesce(pg_sequence_last_value('pgalert.lease_low_water'), 1)) AND c.messages > 0
    AND NOT EXISTS (SELECT FROM claim_log l WHERE l.claim_id = c.claim_id AND l.ended IS NOT NULL)
  ORDER BY c.claim_id
$$;

CREATE TYPE claim_progress AS (finished bigint[], partial jsonb, ended text);
COMMENT ON TYPE claim_progress IS 'What was reported of a claim: messages that need no further report, outcomes of others, and how it ended.';

CREATE AGGREGATE _joined(bigint[]) (SFUNC = array_cat, STYPE = bigint[], INITCOND = '{}');
CREATE AGGREGATE _joined(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '[]');

CREATE FUNCTION _progress(slot smallint, claim_id bigint) RETURNS claim_progress
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  progress claim_progress;
BEGIN
  SELECT _joined(l.finished), _joined(l.partial), max(l.ended) INTO progress  -- taken over says more than finished
  FROM claim_log l WHERE l.slot = _progress.slot AND l.claim_id = _progress.claim_id;
  RETURN progress;
END
$$;

-- The messages of a claim's window part: all, or those of a range of ids. There are no more than claim.messages; behind the
-- last of them an index scan would go on to the end of its transaction.
CREATE FUNCTION _claim_rows(claim claims, first_id bigint DEFAULT NULL, last_id bigint DEFAULT NULL) RETURNS SETOF outbox
LANGUAGE sql STABLE
AS $$
  SELECT o.* FROM _window_rows(claim.lane, claim.lo, claim.hi, claim.after_xid, claim.after_id, claim.upto_xid, claim.upto_id, claim.messages,
                               first_id, last_id, claim.first_slot, claim.last_slot) o
$$;

-- Claims the next part of a lane: what is left of the cursor's window, else the window from there to now. Returns the claim's id, NULL where
-- nothing is waiting. In Rust: a claim that finds nothing does little else, and plans take many times as long.
CREATE FUNCTION _claim_lane(worker text, max_messages integer, lease interval, lane integer) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_claim_lane_wrapper';

-- A new claim of the messages that are left of one whose lease ran out. The first `keep` go to the new claim, the others
-- to a second one that anybody may take at once.
CREATE FUNCTION _pass_on(old claims, left_over bigint[], keep integer, takeovers smallint, worker text, lease interval) RETURNS claims
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  progress claim_progress := _progress(old.slot, old.claim_id);
  current smallint := (SELECT last_value FROM outbox_slot);
  piece   claims;
BEGIN
  FOR part IN REVERSE CASE WHEN keep < cardinality(left_over) THEN 2 ELSE 1 END .. 1 LOOP
    piece := old;
    piece.slot := current;
    piece.claim_id := nextval('pgalert.claim_id');
    piece.takeover_of := old.claim_id;
    piece.takeovers := takeovers;
    piece.claimed_at := clock_timestamp();
    piece.worker := CASE part WHEN 1 THEN worker ELSE '' END;
    piece.lease_until := CASE part WHEN 1 THEN clock_timestamp() + lease ELSE '-infinity' END;
    INSERT INTO claims SELECT piece.*;
    INSERT INTO claim_log (slot, claim_id, finished, partial)
    VALUES (current, piece.claim_id, progress.finished || CASE part WHEN 1 THEN left_over[keep + 1 :] ELSE left_over[: keep] END,
            nullif(progress.partial, '[]'));
  END LOOP;
  INSERT INTO claim_log (slot, claim_id, ended) VALUES (old.slot, old.claim_id, 'taken_over');
  RETURN piece;
END
$$;

-- Takes over one claim whose lease ran out; the caller holds all lanes, so that no claim is being written.
CREATE FUNCTION _take_over(worker text, max_messages integer, lease interval) RETURNS claims
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  max_takeovers CONSTANT integer := 3;
  candidate record;
  old       claims;
  left_over bigint[];
  lost      boolean;
  tries     smallint;
BEGIN
  FOR candidate IN SELECT o.claim_id, o.slot FROM _open_claims() o WHERE o.lease_until < clock_timestamp() LOOP
    SELECT c.* INTO old FROM claims c WHERE c.claim_id = candidate.claim_id AND c.slot = candidate.slot
    FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND OR old.lease_until >= clock_timestamp()
      OR EXISTS (SELECT FROM claim_log l WHERE l.claim_id = old.claim_id AND l.ended IS NOT NULL);
    SELECT coalesce(array_agg(o.message_id ORDER BY o.xid, o.message_id), '{}') INTO left_over
    FROM _claim_rows(old) o
    WHERE NOT EXISTS (SELECT FROM unnest((_progress(old.slot, old.claim_id)).finished) f WHERE f = o.message_id);
    lost := old.lease_until <> '-infinity';  -- what was given back, or split off and not held since, took no worker down
    tries := old.takeovers + lost::integer;
    IF lost AND tries > max_takeovers AND cardinality(left_over) = 1 THEN
      PERFORM _end_messages(old, left_over, 'lease_lost', 'each worker that held this message was lost');
      CONTINUE;
    END IF;
    RETURN _pass_on(old, left_over, least(max_messages, CASE WHEN lost AND tries > max_takeovers THEN (cardinality(left_over) + 1) / 2
                                                             ELSE cardinality(left_over) END), tries, worker, lease);
  END LOOP;
  RETURN NULL;
END
$$;

-- Whether a lease ran out. Looks at most once a second, else it is false; locks all lanes, and notes below which claims all have ended.
CREATE FUNCTION _leases_ran_out() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_leases_ran_out_wrapper';

-- The rows of claim_batch(): the messages of a claim that are not finished, in order, with their channels that nothing was told of (told_of,
-- told_channels: of messages, side by side) and the addresses of their users, {channel: [{"recipient_id", "address", "secrets"?}, …]}: for the
-- channels owed and, on some of them, only the recipients owed. In Rust, since to join three tables for each message costs several times as much.
CREATE FUNCTION _claimed(of_claim bigint, lane smallint, lo text, hi text, after_xid xid8, after_id bigint, upto_xid xid8, upto_id bigint, messages integer,
  first_slot smallint, last_slot smallint, finished bigint[], told_of bigint[], told_channels text[])
RETURNS TABLE (claim_id bigint, message_id bigint, delivery_key uuid, alert_id text, user_id text, alert_name text, message text,
               priority text, channels text[], recipients jsonb, alert_data jsonb, attempt integer, dlq_id uuid,
               enqueued_at timestamptz, traceparent text)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_claimed_wrapper';

-- claim_batch() where there is more to it than messages that nobody has claimed: refusals, a lease that ran out, messages that expired.
-- claimed: the claim that was made, if there is one already.
CREATE FUNCTION _claim_in_full(worker text, max_messages integer, lease interval, claimed bigint)
RETURNS TABLE (claim_id bigint, message_id bigint, delivery_key uuid, alert_id text, user_id text, alert_name text, message text,
               priority text, channels text[], recipients jsonb, alert_data jsonb, attempt integer, dlq_id uuid,
               enqueued_at timestamptz, traceparent text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  claim  claims;
  lanes  integer[] := ARRAY[0, 1, 2];
  past   bigint[];
  progress claim_progress;
  told_of       bigint[];
  told_channels text[];
BEGIN
  PERFORM _require_read_committed('claim_batch'), _check_text('worker', worker, 255), _check_lease(lease);
  IF max_messages IS NULL OR max_messages NOT BETWEEN 1 AND 10000 THEN
    RAISE EXCEPTION 'max_messages is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(max_messages::text, 'NULL')), HINT = 'Give a number from 1 to 10000.';
  END IF;
  IF claimed IS NULL AND hold_reason() IS NOT NULL THEN
    RETURN;
  END IF;

  LOOP
    claim := NULL;
    progress := ROW('{}', '[]', NULL);
    told_of := '{}';
    told_channels := '{}';
    IF claimed IS NULL AND _leases_ran_out() THEN
      claim := _take_over(worker, max_messages, lease);
      IF claim.claim_id IS NOT NULL THEN
        PERFORM setval('pgalert.leases_searched_at', 1);  -- there may be more: the next claim looks again
      END IF;
    END IF;
    IF claim.claim_id IS NULL THEN
      IF coalesce(claimed - 1, pg_sequence_last_value('pgalert.claim_id')) % 8 = 7 THEN
        lanes := ARRAY[2, 1, 0];  -- every eighth claim, so that a busy high lane does not starve the others
        PERFORM _lock_lanes();
      END IF;
      FOR place IN 1 .. 3 LOOP
        EXIT WHEN claimed IS NOT NULL;
        claimed := _claim_lane(worker, max_messages, lease, lanes[place]);
      END LOOP;
      IF claimed IS NULL THEN
        RETURN;
      END IF;
      SELECT c.* INTO claim FROM claims c WHERE c.claim_id = claimed;
      claimed := NULL;
    END IF;

    past := NULL;
    IF claim.expires_at <= clock_timestamp() THEN
      SELECT array_agg(o.message_id) INTO past FROM _claim_rows(claim) o
      WHERE o.expires_at <= clock_timestamp() AND NOT EXISTS (SELECT FROM unnest((_progress(claim.slot, claim.claim_id)).finished) f WHERE f = o.message_id);
      IF past IS NOT NULL THEN
        PERFORM _end_messages(claim, past, 'expired', _expired_before_sending());
      END IF;
    END IF;

    IF claim.takeover_of IS NOT NULL OR past IS NOT NULL THEN
      progress := _progress(claim.slot, claim.claim_id);
      SELECT coalesce(array_agg((p ->> 'message_id')::bigint), '{}'), coalesce(array_agg(p ->> 'channel'), '{}') INTO told_of, told_channels
      FROM jsonb_array_elements(progress.partial) p;
    END IF;
    RETURN QUERY
    SELECT m.* FROM _claimed(claim.claim_id, claim.lane, claim.lo::text, claim.hi::text, claim.after_xid, claim.after_id, claim.upto_xid, claim.upto_id,
                             claim.messages, claim.first_slot, claim.last_slot, progress.finished, told_of, told_channels) m;
    EXIT WHEN FOUND;  -- else all of them had expired: claim the next
  END LOOP;
END
$$;
-- In Rust, and not declared SECURITY DEFINER, as deliver_alert().
CREATE FUNCTION claim_batch(worker text, max_messages integer, lease interval)
RETURNS TABLE (claim_id bigint, message_id bigint, delivery_key uuid, alert_id text, user_id text, alert_name text, message text,
               priority text, channels text[], recipients jsonb, alert_data jsonb, attempt integer, dlq_id uuid,
               enqueued_at timestamptz, traceparent text)
LANGUAGE c VOLATILE COST 100 AS 'MODULE_PATHNAME', 'claim_batch_wrapper';
COMMENT ON FUNCTION claim_batch(text, integer, interval) IS 'Hands up to max_messages (1 to 10000, at most 8 MB with their addresses) of one lane to a worker under a lease (up to 1 day): one row a message, with its channels still owed and recipients {channel: [{"recipient_id", "address"}]}. No row: nothing is waiting, or hold_reason() says why. A worker''s name is unique for each start of a process. READ COMMITTED only (25000); raises XX001 where the cursor lies in the future.';

CREATE FUNCTION _lease_lost(claim_id bigint, detail text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  RAISE EXCEPTION 'the lease of claim % is lost', claim_id USING ERRCODE = 'PA001', DETAIL = detail,
    HINT = 'Drop what you hold of it: nothing was recorded, and its messages are delivered under another claim.';
END
$$;

CREATE TYPE held_claim AS (claim claims, progress claim_progress);
COMMENT ON TYPE held_claim IS 'A claim that its worker has locked.';

-- The claim, locked until the end of the transaction. Raises lease_lost where it is not the worker's any more.
CREATE FUNCTION _own_claim(claim_id bigint, worker text) RETURNS held_claim
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  claim    claims;
  progress claim_progress;
BEGIN
  IF claim_id IS NULL THEN
    RAISE EXCEPTION 'claim_id must not be NULL' USING ERRCODE = 'null_value_not_allowed',
      DETAIL = 'It names the messages that are spoken of.', HINT = 'Give the claim_id of claim_batch().';
  END IF;
  SELECT c.* INTO claim FROM claims c WHERE c.claim_id = _own_claim.claim_id FOR UPDATE;
  IF (claim.messages > 0 AND claim.worker = worker AND worker <> '') IS NOT TRUE THEN
    PERFORM _check_text('worker', worker, 255);  -- of a claim that is the worker's, claim_batch() has looked
    PERFORM _lease_lost(claim_id, CASE WHEN claim.messages > 0 THEN 'Another worker holds it.' ELSE 'There is no such claim, or it ended long ago.' END);
  END IF;
  progress := _progress(claim.slot, claim_id);
  IF progress.ended = 'taken_over' THEN
    PERFORM _lease_lost(claim_id, 'Its lease ran out or was released, and the claim was taken over.');
  END IF;
  RETURN ROW(claim, progress);
END
$$;

CREATE FUNCTION extend_lease(claim_id bigint, worker text, lease interval) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  claim claims;
BEGIN
  PERFORM _require_read_committed('extend_lease'), _check_lease(lease);
  claim := (_own_claim(claim_id, worker)).claim;
  UPDATE claims c SET lease_until = greatest(c.lease_until, clock_timestamp() + lease)
  WHERE c.claim_id = claim.claim_id AND c.slot = claim.slot
  RETURNING c.lease_until INTO claim.lease_until;
  RETURN claim.lease_until;
END
$$;
COMMENT ON FUNCTION extend_lease(bigint, text, interval) IS 'Extends the lease of one''s claim to now + lease (up to 1 day), never shortens it; returns its end. Raises PA001 where the claim is another''s by now. READ COMMITTED only.';

CREATE FUNCTION release_claim(claim_id bigint, worker text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  held       held_claim;
  given_back integer;
BEGIN
  PERFORM _require_read_committed('release_claim');
  held := _own_claim(claim_id, worker);
  given_back := (held.claim).messages - cardinality((held.progress).finished);
  IF given_back > 0 THEN
    UPDATE claims c SET lease_until = '-infinity' WHERE c.claim_id = (held.claim).claim_id AND c.slot = (held.claim).slot;
    PERFORM setval('pgalert.leases_searched_at', 1);
    PERFORM _wake_drivers();
  END IF;
  RETURN given_back;
END
$$;
COMMENT ON FUNCTION release_claim(bigint, text) IS 'Gives the messages of a claim that are not finished back at once; returns how many. Raises PA001 where the claim is another''s by now. READ COMMITTED only.';
