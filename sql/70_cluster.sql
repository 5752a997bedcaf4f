-- A copy must page nobody: whether this database may send, and how a person says that it may.

CREATE FUNCTION hold_reason() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  confirmed confirmed_cluster;
  wanted    text := setting('environment');
  session   text := coalesce(nullif(current_setting('pgalert.environment', true), ''), 'default');
BEGIN
  SELECT c.* INTO confirmed FROM confirmed_cluster c LIMIT 1;
  IF FOUND THEN
    IF confirmed.install_id <> _install_id() THEN
      RETURN 'this database was restored from a dump of another; if its messages are to be sent from here: SELECT pgalert.confirm_cluster()';
    END IF;
    IF confirmed.database_oid <> _database_oid() THEN
      RETURN 'this database was copied from another of the same server; if its messages are to be sent from here: SELECT pgalert.confirm_cluster()';
    END IF;
  END IF;
  IF wanted <> session THEN
    RETURN format('this database is of environment "%s", the driver of "%s"; set the driver''s environment, or SELECT pgalert.set_setting(''environment'', ''%s'')',
                  wanted, session, session);
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION hold_reason() IS 'NULL, or why nothing is claimed, retried or cleaned up in this database: it is a copy that nobody has confirmed, or session setting pgalert.environment is not that of the database. Firing works all the same.';

-- Messages of another installation are copied with a transaction id of this one, so that they lie in front of the new
-- cursors; the slots are locked first, so that what producers accept meanwhile is either among them or comes after.
CREATE FUNCTION confirm_cluster() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off  -- there may be thousands of claims
AS $$
DECLARE
  own      uuid := _install_id();
  restored boolean;
  snapshot pg_snapshot;
  last     claims;
  open_claim claims;
  progress claim_progress;
  largest  bigint;
  kept     bigint;
BEGIN
  PERFORM _require_read_committed('confirm_cluster');
  PERFORM _lock_lanes();
  LOCK TABLE outbox_0, outbox_1, outbox_2, claims_0, claims_1, claims_2, claim_log_0, claim_log_1, claim_log_2 IN ACCESS EXCLUSIVE MODE;
  restored := EXISTS (SELECT FROM confirmed_cluster c WHERE c.install_id <> own);

  CREATE UNLOGGED TABLE pgalert.kept_messages (LIKE outbox);  -- not a temporary one: many a database grants nobody those
  FOR lane IN 0 .. 2 LOOP
    last := _cursor(lane::smallint);
    INSERT INTO pgalert.kept_messages
    SELECT o.* FROM outbox o
    WHERE o.lane = last.lane
      AND CASE WHEN restored AND o.install_id = own THEN true  -- accepted here, since the restore
               WHEN pg_visible_in_snapshot(o.xid, last.lo) THEN false
               WHEN pg_visible_in_snapshot(o.xid, last.hi) THEN (o.xid, o.message_id) > (last.upto_xid, last.upto_id)
               ELSE true END;
  END LOOP;
  FOR open_claim IN
    SELECT c.* FROM claims c
    WHERE c.messages > 0 AND NOT EXISTS (SELECT FROM claim_log l WHERE l.claim_id = c.claim_id AND l.ended IS NOT NULL)
  LOOP
    progress := _progress(open_claim.slot, open_claim.claim_id);
    -- A channel is done where all of its recipients were reached; else the whole of it is tried again.
    INSERT INTO pgalert.kept_messages
    SELECT (jsonb_populate_record(o, jsonb_build_object(
             'channels', array(SELECT c FROM unnest(o.channels) c WHERE c <> ALL (done.channels)),
             'delivered_channels', o.delivered_channels || done.channels))).*
    FROM _window_rows(open_claim.lane, open_claim.lo, open_claim.hi, open_claim.after_xid, open_claim.after_id, open_claim.upto_xid, open_claim.upto_id,
                      NULL) o  -- not _claim_rows: of a restored claim, rows with xids of this cluster may lie between its own
    CROSS JOIN LATERAL (SELECT array(SELECT p ->> 'channel' FROM jsonb_array_elements(progress.partial) p
                                     WHERE (p ->> 'message_id')::bigint = o.message_id
                                     GROUP BY 1 HAVING bool_and(p ->> 'outcome' = 'delivered')) AS channels) AS done
    WHERE o.message_id <> ALL (progress.finished) AND NOT (restored AND o.install_id = own);
  END LOOP;

  TRUNCATE outbox_0, outbox_1, outbox_2, claims_0, claims_1, claims_2, claim_log_0, claim_log_1, claim_log_2;
  SELECT greatest(max(k.message_id), (SELECT last_value FROM message_id)) INTO largest FROM pgalert.kept_messages k;
  PERFORM setval('pgalert.message_id', largest);
  UPDATE pgalert.kept_messages k SET slot = (SELECT s.last_value FROM outbox_slot s), xid = pg_current_xact_id(), install_id = own;
  INSERT INTO outbox SELECT k.* FROM pgalert.kept_messages k;
  GET DIAGNOSTICS kept = ROW_COUNT;
  DROP TABLE pgalert.kept_messages;

  PERFORM setval('pgalert.lease_low_water', 1);
  snapshot := _cursor_snapshot();
  INSERT INTO claims (slot, lane, claim_id, lo, hi, after_xid, after_id, upto_xid, upto_id, messages, worker, lease_until)
  SELECT s.last_value, lane, nextval('pgalert.claim_id'), snapshot, snapshot, '0', 0, '0', 0, 0, '', 'infinity'
  FROM outbox_slot s, generate_series(0, 2) lane;
  LOCK TABLE confirmed_cluster IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM confirmed_cluster;
  PERFORM _confirm_first_use();
  PERFORM _wake_drivers();
  RETURN kept;
END
$$;
COMMENT ON FUNCTION confirm_cluster() IS 'Says that the messages that lie in this database are to be sent from here: after a restore or copy, when the original is off. Keeps all that is not delivered, with new transaction ids; returns how many messages. Locks the queue. READ COMMITTED only.';
