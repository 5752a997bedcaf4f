-- Counts that cost little to write and to read: triggers append differences, maintain() adds them up. Where a snapshot is
-- held for long, what was added up cannot be removed; so nobody walks it: each begins where the last adding up ended.

-- By the transaction that wrote it, a difference is of one adding up: its own, or one after it. What a snapshot did not see
-- are transactions from `below` on, and those that were `open`. Without any adding up it is everything.
CREATE FUNCTION _last_added_up(what text) RETURNS added_up
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
  last added_up;
BEGIN
  SELECT a.* INTO last FROM added_up a WHERE a.what = _last_added_up.what ORDER BY a.id DESC LIMIT 1;
  last.what := what;
  last.below := coalesce(last.below, '0');
  last.open := coalesce(last.open, '{}');
  RETURN last;
END
$$;

-- One adds up at a time; another leaves it to the next time. An empty table, since a row locked for it would be hot.
CREATE FUNCTION _may_add_up() RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  LOCK TABLE adding_up IN EXCLUSIVE MODE NOWAIT;
  RETURN true;
EXCEPTION WHEN lock_not_available THEN
  RETURN false;
END
$$;

-- taken: the snapshot of the statement that took the differences away. What this transaction itself writes is still to come.
CREATE FUNCTION _end_adding_up(last added_up, taken pg_snapshot, left_rows bigint DEFAULT NULL, minutes_from timestamptz DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  DELETE FROM added_up a WHERE a.what = last.what AND a.id = last.id;
  INSERT INTO added_up (what, below, open, left_rows, minutes_from)
  VALUES (last.what, pg_snapshot_xmax(taken),
          ARRAY(SELECT x FROM pg_snapshot_xip(taken) x UNION SELECT own FROM pg_current_xact_id() own WHERE own < pg_snapshot_xmax(taken)),
          left_rows, minutes_from)
$$;

-- A restore with --load-via-partition-root brings the rows of a log by statements on the log itself, which fire its triggers;
-- what was counted of these rows comes with the tables of counts.
CREATE FUNCTION _restoring() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_restoring_wrapper';
