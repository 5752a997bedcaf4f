\set ECHO none
-- measure(command, most): 'ok' where a command, in a transaction of its own, reads no more than so many rows of pgalert's tables by
-- an index, and hardly any by a scan.
CREATE VIEW reads AS
SELECT sum(seq_tup_read) AS seq, sum(idx_tup_fetch) AS idx FROM pg_stat_xact_user_tables WHERE schemaname = 'pgalert';
CREATE PROCEDURE measure(command text, most bigint, INOUT verdict text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  before reads;
  after  reads;
BEGIN
  COMMIT;
  SELECT * INTO before FROM reads;
  EXECUTE command;
  SELECT * INTO after FROM reads;
  verdict := CASE WHEN after.seq - before.seq <= 50 AND after.idx - before.idx <= most THEN 'ok'
                  ELSE format('%s by scans, %s by index, at most %s wanted', after.seq - before.seq, after.idx - before.idx, most) END;
END
$$;
\set ECHO all
