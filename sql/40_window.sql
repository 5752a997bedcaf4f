-- Windows of snapshots: which outbox rows lie between two snapshots, in order of (xid, message_id).

-- The snapshot to write in a cursor. pg_current_snapshot() counts the own transaction as seen; a transaction that has
-- enqueued (a report, a retry selection) and then claims would declare its own later rows as claimed.
CREATE FUNCTION _cursor_snapshot() RETURNS pg_snapshot
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_cursor_snapshot_wrapper';

-- Rows of a lane visible in hi and not in lo, behind `after` and up to `upto`, at most max_rows, in order.
-- The ranges come in ascending order and a nested loop keeps it, so that LIMIT takes the first rows without a sort;
-- transactions still open in hi are left out by range, so that the rows of a large one are never walked. Of rows whose id
-- is not between first_id and last_id only the index is read. first_slot, last_slot: slots that need not be looked
-- into are left out; a range, since each row is asked for its own.
CREATE FUNCTION _window_rows(lane smallint, lo pg_snapshot, hi pg_snapshot, after_xid xid8, after_id bigint,
                             upto_xid xid8, upto_id bigint, max_rows bigint,
                             first_id bigint DEFAULT NULL, last_id bigint DEFAULT NULL,
                             first_slot smallint DEFAULT 0, last_slot smallint DEFAULT 2) RETURNS SETOF outbox
LANGUAGE sql STABLE
AS $$
  SELECT o.*
  FROM _window_ranges(lo::text, hi::text, after_xid::text, after_id) AS r
  CROSS JOIN LATERAL (
    SELECT o.* FROM outbox o
    WHERE o.lane = _window_rows.lane
      AND o.slot BETWEEN first_slot AND last_slot
      AND (o.xid, o.message_id) > (r.from_xid::xid8, r.from_id) AND o.xid < r.below_xid::xid8
      AND (o.xid, o.message_id) <= (upto_xid, upto_id)
      AND o.message_id BETWEEN coalesce(first_id, 0) AND coalesce(last_id, 9223372036854775807)
    ORDER BY o.xid, o.message_id
    LIMIT max_rows) AS o
  LIMIT max_rows
$$;
