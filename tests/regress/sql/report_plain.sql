-- How a report of deliveries alone is recorded: without a plan, and yet as any other is.
--   1. It leaves what a report in full leaves, and counts it.
--   2. Nothing is recorded twice: in a later call, in the same statement, or where a message comes twice.
--   3. What says more than that messages were delivered is reported in full.
--   4. The owner of alert_deliveries may change it: each row goes the way that INSERT goes.
--   5. A row goes into the partition of its time, whenever that was made.
--   6. What is rolled back leaves nothing. What is refused is refused as ever.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
SET track_functions = 'all';
\set VERBOSITY terse
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('plain', NULL, '0');
CREATE FUNCTION pg_temp.fire(alerts text[], channels jsonb DEFAULT '["email"]') RETURNS bigint LANGUAGE sql AS $$
  SELECT count(pgalert.deliver_alert(jsonb_build_object('id', a, 'channels', channels, 'priority', 'plain'), 'u1', a)) FROM unnest(alerts) a
$$;
-- tell(alerts, more, named): reports them as delivered by email; by how many, and whether in full.
CREATE FUNCTION pg_temp.tell(alerts text[], more jsonb DEFAULT '{}', named boolean DEFAULT true, worker text DEFAULT 'w1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before integer := (SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE funcname = '_report_in_full');
  done   integer;
BEGIN
  done := (SELECT pgalert.report(min(c.claim_id), tell.worker, jsonb_agg(
             jsonb_build_object('delivery_key', c.delivery_key, 'channel', 'email', 'outcome', 'delivered')
             || CASE WHEN named THEN jsonb_build_object('message_id', o.message_id) ELSE '{}' END || more ORDER BY a.n))
           FROM unnest(alerts) WITH ORDINALITY a (alert, n)
           JOIN LATERAL (SELECT * FROM claimed c WHERE c.alert_id = a.alert ORDER BY c.n DESC LIMIT 1) AS c ON true
           JOIN pgalert.outbox o USING (delivery_key, attempt));
  RETURN done || CASE WHEN before < (SELECT sum(calls) FROM pg_stat_xact_user_functions WHERE funcname = '_report_in_full') THEN ' in full' ELSE ' plainly' END;
END
$$;
CREATE FUNCTION pg_temp.alerts(prefix text, number integer) RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(prefix || i ORDER BY i) FROM generate_series(1, number) i $$;
CREATE FUNCTION pg_temp.counted() RETURNS TABLE (exact boolean, by_minute boolean) LANGUAGE sql AS $$
  SELECT (SELECT value FROM pgalert.metrics() WHERE name = 'pgalert_deliveries_total') = count(*),
         (SELECT sum(s.deliveries) FROM pgalert._all_delivery_stats s) = sum(jsonb_array_length(d.delivery_methods))
  FROM pgalert.alert_deliveries d
$$;

-- 1
SELECT pg_temp.fire('{one,two}'), pg_temp.fire('{both}', '["inapp", "email"]');
SELECT pg_temp.claim();
UPDATE outbox SET user_id = NULL WHERE alert_id = 'one';
SELECT pg_temp.tell('{one,both}');
SELECT count(*) AS open FROM open_claims();
SELECT pg_temp.tell('{two}', '{"duration_ms": 1.5}');
SELECT count(*) AS open FROM open_claims();
SELECT d.alert_id, d.user_id, d.delivery_methods, d.attempt, d.priority, d.content_hash = o.content_hash AS of_content, d.accepted_at = o.accepted_at AS of_time,
       d.segment = s.last_value AS of_segment, d.delivered_at BETWEEN d.accepted_at AND clock_timestamp() AS now, substr(d.id::text, 15, 1) AS version
FROM alert_deliveries d JOIN outbox o USING (delivery_key), delivery_segment s ORDER BY d.id;
SELECT (SELECT array_agg(o.alert_id ORDER BY o.message_id) FROM outbox o WHERE o.message_id = ANY (l.finished)) AS finished, partial, ended FROM claim_log l;
SELECT * FROM pg_temp.counted();
SELECT at = date_trunc('minute', at) AS of_minute, width, channel, sum(deliveries) AS deliveries, sum(by_retry) AS by_retry, sum(retries) AS retries
FROM delivery_stats_new GROUP BY 1, 2, 3 ORDER BY 3;
SELECT pg_temp.fire(pg_temp.alerts('n', 234));
SELECT pg_temp.claim() IS NOT NULL AS claimed;
SELECT pg_temp.tell((pg_temp.alerts('n', 234))[101:200]), pg_temp.tell((pg_temp.alerts('n', 234))[1:100]);
SELECT pg_temp.tell((pg_temp.alerts('n', 234))[201:234], named => false);
SELECT count(*) AS open FROM open_claims();
SELECT count(*) AS deliveries, count(DISTINCT d.id) AS ids, count(DISTINCT d.delivery_key) AS messages FROM alert_deliveries d WHERE alert_id ~ '^n[0-9]';
SELECT count(*) AS found FROM alert_deliveries d CROSS JOIN LATERAL _deliveries_to(d.user_id, d.alert_id) f WHERE f.id = d.id AND d.alert_id ~ '^n[0-9]';
SELECT * FROM pg_temp.counted();

-- 2
SELECT pg_temp.fire(pg_temp.alerts('r', 6));
SELECT pg_temp.claim();
SELECT pg_temp.tell('{r1,r2}'), pg_temp.tell('{r1,r2}'), pg_temp.tell('{r1,r3}');
SELECT pg_temp.tell('{r3}', named => false), pg_temp.tell('{r3}', named => false), pg_temp.tell('{r2}', named => false);
SELECT pg_temp.tell('{r4,r4}', named => false), pg_temp.tell('{r5,r5}'), pg_temp.tell('{r5,r4}');
SELECT pg_temp.tell('{r6}'), pg_temp.tell('{r6}'), pg_temp.tell(pg_temp.alerts('r', 6));
SELECT alert_id, count(*) FROM alert_deliveries WHERE alert_id ~ '^r[0-9]' GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.counted();

-- 3
SELECT pg_temp.fire(pg_temp.alerts('f', 9)), pg_temp.fire('{more}', '["email", "sms"]');
SELECT pg_temp.claim();
SELECT pg_temp.tell('{f1}', '{"host": "mail.example.com"}'), pg_temp.tell('{f2}', '{"duration_ms": 1}'), pg_temp.tell('{f3}', '{"outcome": "failed"}'), pg_temp.tell('{f4}', '{"recipient_id": 1}'),
       pg_temp.tell('{f5}', '{"outcome": "deferred"}'), pg_temp.tell('{f6}', '{"message_id": null}'), pg_temp.tell('{f7,more}');
SELECT pg_temp.tell('{f8}'), pg_temp.answer('more', '{"sms": "delivered"}');
SELECT pg_temp.fire(pg_temp.alerts('g', 2), '["sms"]');
SELECT pg_temp.claim();
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{g1}')$$), E'\n', 1) AS error;
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{g1}', '{"message_id": 0}')$$), E'\n', 1) AS error;
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{g1,f9}', '{"channel": "sms"}')$$), E'\n', 1) AS error;
SELECT pg_temp.tell('{g1}', '{"channel": "sms"}'), pg_temp.tell('{g2}', '{"channel": "sms"}'), pg_temp.tell('{f9}');
SELECT pg_temp.make_due('f3'), schedule_retries(10);
SELECT pg_temp.claim();
SELECT pg_temp.tell('{f3}');
SELECT alert_id, attempt, delivery_methods FROM alert_deliveries WHERE alert_id ~ '^[fg][0-9]|more' ORDER BY alert_id COLLATE "C";
SELECT alert_id, state FROM alert_dlq;
SELECT count(*) AS open FROM open_claims();
SELECT * FROM pg_temp.counted();

-- 4
-- as_changed(change): how three messages are reported after it, and what is found of them then.
CREATE PROCEDURE pg_temp.as_changed(change text) LANGUAGE plpgsql AS $$
DECLARE
  prefix CONSTANT text := 'c' || nextval('pg_temp.changes') || '-';
  told   text;
  found  text;
BEGIN
  PERFORM pg_temp.fire(pg_temp.alerts(prefix, 3));
  COMMIT;
  PERFORM pg_temp.claim();
  COMMIT;
  EXECUTE change;
  BEGIN
    told := pg_temp.tell(pg_temp.alerts(prefix, 3));
  EXCEPTION WHEN OTHERS THEN
    told := SQLERRM;
  END;
  SELECT string_agg(concat_ws(' ', replace(alert_id, prefix, ''), priority, attempt, to_jsonb(d) - ARRAY['id', 'alert_id', 'user_id', 'content_hash', 'delivery_methods', 'delivered_at', 'delivery_key',
                                                                  'attempt', 'segment', 'priority', 'accepted_at']), ', ' ORDER BY alert_id) INTO found
  FROM pgalert.alert_deliveries d WHERE alert_id LIKE prefix || '%';
  RAISE NOTICE '%: %: %', change, told, found;
  ROLLBACK;
END
$$;
CREATE SEQUENCE pg_temp.changes;
CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.priority := upper(NEW.priority); RETURN NEW; END $$;
CREATE FUNCTION public.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% on %', TG_OP, TG_RELID::regclass; RETURN NULL; END $$;
CREATE FUNCTION public.forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION public.says(what text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% looks into % as %', what, current_setting('search_path'), current_user; RETURN what; END $$;
CREATE FUNCTION public.refuse(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 !~ '-2$' $$;
CALL pg_temp.as_changed('SELECT 1');
CALL pg_temp.as_changed('CREATE TRIGGER shout BEFORE INSERT ON alert_deliveries FOR EACH ROW EXECUTE FUNCTION public.shout()');
CALL pg_temp.as_changed('CREATE TRIGGER shout BEFORE INSERT ON alert_deliveries_default FOR EACH ROW EXECUTE FUNCTION public.shout()');
CALL pg_temp.as_changed('CREATE TRIGGER say AFTER INSERT ON alert_deliveries EXECUTE FUNCTION public.say()');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries DISABLE TRIGGER counted');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ENABLE REPLICA TRIGGER counted');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ENABLE ALWAYS TRIGGER counted');
CALL pg_temp.as_changed('SET LOCAL session_replication_role = replica');
CALL pg_temp.as_changed('DROP TRIGGER counted ON alert_deliveries');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ADD COLUMN note text DEFAULT ''noted''');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ALTER priority TYPE varchar(20)');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ALTER id SET DEFAULT gen_random_uuid()');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ALTER id DROP DEFAULT, ALTER delivered_at DROP DEFAULT, ALTER segment DROP DEFAULT');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ADD CHECK (public.refuse(alert_id))');
CALL pg_temp.as_changed('TRUNCATE alert_deliveries; ALTER TABLE alert_deliveries_default ADD CHECK (priority <> ''plain'')');
CALL pg_temp.as_changed('TRUNCATE alert_deliveries; ALTER TABLE alert_deliveries ALTER user_id SET NOT NULL');
CALL pg_temp.as_changed('TRUNCATE alert_deliveries; CREATE UNIQUE INDEX ON alert_deliveries_default (priority, (public.says(alert_id)))');
CALL pg_temp.as_changed('TRUNCATE alert_deliveries; CREATE UNIQUE INDEX ON alert_deliveries_default (priority) WHERE alert_id ~ ''^c''');
CALL pg_temp.as_changed('ALTER TABLE alert_deliveries ENABLE ROW LEVEL SECURITY; ALTER TABLE alert_deliveries FORCE ROW LEVEL SECURITY');
CALL pg_temp.as_changed('CREATE RULE quiet AS ON INSERT TO alert_deliveries DO INSTEAD NOTHING');
CALL pg_temp.as_changed('CREATE TRIGGER say AFTER INSERT ON claim_log EXECUTE FUNCTION public.say()');
CALL pg_temp.as_changed('CREATE RULE told AS ON INSERT TO claim_log DO ALSO NOTIFY told');
CALL pg_temp.as_changed('ALTER TABLE claim_log ENABLE ROW LEVEL SECURITY; ALTER TABLE claim_log FORCE ROW LEVEL SECURITY; CREATE POLICY read ON claim_log FOR SELECT USING (true)');
CALL pg_temp.as_changed('CREATE TRIGGER say AFTER INSERT ON claim_log_0 FOR EACH ROW EXECUTE FUNCTION public.say()');
CALL pg_temp.as_changed('CREATE TRIGGER forget BEFORE INSERT ON delivery_stats_new FOR EACH ROW EXECUTE FUNCTION public.forget()');
CALL pg_temp.as_changed('SET LOCAL client_min_messages = error; CREATE PUBLICATION published FOR TABLE alert_deliveries; SET LOCAL client_min_messages = notice');
CALL pg_temp.as_changed('SELECT 1');

-- 5
-- A partition of the time from one difference to another, to now.
CREATE FUNCTION pg_temp.partition(name text, since interval, until interval) RETURNS text LANGUAGE sql AS $$
  SELECT format('CREATE TABLE pgalert.%I PARTITION OF pgalert.alert_deliveries (PRIMARY KEY (id, delivered_at)) FOR VALUES FROM (%s) TO (%s)', name,
                coalesce(quote_literal(clock_timestamp() + since), 'MINVALUE'), coalesce(quote_literal(clock_timestamp() + until), 'MAXVALUE'))
$$;
CREATE FUNCTION pg_temp.lie(prefix text) RETURNS TABLE (lie text, deliveries bigint) LANGUAGE sql AS $$
  SELECT tableoid::regclass::text, count(*) FROM pgalert.alert_deliveries WHERE alert_id ~ ('^' || prefix || '[0-9]') GROUP BY 1 ORDER BY 1
$$;
SELECT pg_temp.fire(pg_temp.alerts('p', 12));
SELECT pg_temp.claim();
SELECT pg_temp.tell('{p1}');
SELECT * FROM pg_temp.lie('p');
BEGIN;
TRUNCATE alert_deliveries;
SELECT pg_temp.partition('d_before', '-2 hours', '-1 hour') AS a, pg_temp.partition('d_now', '-1 hour', '1 hour') AS b, pg_temp.partition('d_after', '1 hour', '2 hours') AS c \gset
:a;
:c;
SELECT pg_temp.tell('{p2}');
ALTER TABLE alert_deliveries DETACH PARTITION alert_deliveries_default;
TRUNCATE alert_deliveries_default;
:b;
ALTER TABLE alert_deliveries ATTACH PARTITION alert_deliveries_default DEFAULT;
GRANT INSERT ON d_now TO pgalert_owner;
SELECT pg_temp.tell('{p3,p4}');
SELECT * FROM pg_temp.lie('p');
ALTER TABLE alert_deliveries DETACH PARTITION d_now;
SELECT pg_temp.tell('{p5}');
SELECT * FROM pg_temp.lie('p');
DROP TABLE d_now;
TRUNCATE alert_deliveries;
SELECT pg_temp.partition('d_now', '-30 minutes', '30 minutes') AS b \gset
:b;
CREATE TRIGGER shout BEFORE INSERT ON d_now FOR EACH ROW EXECUTE FUNCTION public.shout();
SELECT pg_temp.tell('{p6}');
DROP TRIGGER shout ON d_now;
GRANT INSERT ON d_now TO pgalert_owner;
SELECT pg_temp.tell('{p7}');
SELECT * FROM pg_temp.lie('p');
SELECT alert_id, priority FROM d_now ORDER BY 1;
ROLLBACK;
BEGIN;
TRUNCATE alert_deliveries;
SELECT pg_temp.partition('d_past', NULL, '-1 hour') AS a, pg_temp.partition('d_now', '-1 hour', NULL) AS b \gset
:a;
:b;
SELECT pg_temp.tell('{p8}') AS of_another_owner;
ALTER TABLE d_now OWNER TO pgalert_owner;
SELECT pg_temp.tell('{p10}');
SELECT * FROM pg_temp.lie('p');
ROLLBACK;
BEGIN;
TRUNCATE alert_deliveries;
CREATE TABLE d_other (gone integer, accepted_at timestamptz NOT NULL, priority text NOT NULL, segment integer NOT NULL, attempt integer NOT NULL, delivery_key uuid NOT NULL, delivered_at timestamptz NOT NULL,
  delivery_methods jsonb NOT NULL, content_hash text COLLATE "C" NOT NULL, alert_id text COLLATE "C" NOT NULL, user_id text COLLATE "C", id uuid NOT NULL);
ALTER TABLE d_other DROP COLUMN gone;
ALTER TABLE alert_deliveries ATTACH PARTITION d_other FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
SELECT pg_temp.tell('{p9}');
SELECT tableoid::regclass, alert_id, user_id, priority, attempt FROM alert_deliveries;
ROLLBACK;
BEGIN;
TRUNCATE alert_deliveries;
CREATE TABLE d_divided PARTITION OF alert_deliveries FOR VALUES FROM (MINVALUE) TO (MAXVALUE) PARTITION BY HASH (id);
CREATE TABLE d_divided_0 PARTITION OF d_divided FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SELECT pg_temp.tell('{p10}');
SELECT * FROM pg_temp.lie('p');
ROLLBACK;
BEGIN;
ALTER TABLE alert_deliveries RENAME TO d_replaced;
CREATE TABLE alert_deliveries (LIKE d_replaced INCLUDING ALL) PARTITION BY LIST (priority);
CREATE TABLE d_listed PARTITION OF alert_deliveries FOR VALUES IN ('plain');
ALTER TABLE alert_deliveries OWNER TO pgalert_owner;
SELECT pg_temp.tell('{p11}');
SELECT * FROM pg_temp.lie('p');
ROLLBACK;
BEGIN;
ALTER TABLE alert_deliveries DETACH PARTITION alert_deliveries_default;
SELECT pg_temp.partition('d_after', '1 hour', '2 hours') AS a \gset
:a;
SELECT pg_temp.error_of($$SELECT pg_temp.tell('{p11}')$$) ~ 'no partition of relation "alert_deliveries" found' AS refused;
ROLLBACK;
SELECT pg_temp.tell('{p12}');
SELECT by_minute FROM pg_temp.counted();

-- 6
INSERT INTO claim_log (slot, claim_id, ended) SELECT slot, claim_id, 'finished' FROM _open_claims();
SELECT pg_temp.fire(pg_temp.alerts('u', 4));
SELECT pg_temp.claim();
BEGIN;
SELECT pg_temp.tell('{u1}');
SAVEPOINT a;
SELECT pg_temp.tell('{u2,u3}');
ROLLBACK TO a;
SELECT pg_temp.tell('{u3}');
COMMIT;
BEGIN;
SELECT pg_temp.tell('{u2}');
ROLLBACK;
SELECT alert_id FROM alert_deliveries WHERE alert_id ~ '^u[0-9]' ORDER BY 1;
SELECT by_minute FROM pg_temp.counted();
SELECT pg_temp.tell('{u2}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.tell('{u4}');
ROLLBACK;
BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT pg_temp.tell('{u4}');
ROLLBACK;
BEGIN READ ONLY;
SELECT pg_temp.tell('{u4}');
ROLLBACK;
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{u4}', worker => 'w2')$$), E'\n', 2) AS error;
SELECT pg_temp.error_of($$SELECT pg_temp.tell('{u4}', worker => '')$$);
SELECT pg_temp.error_of($$SELECT pg_temp.tell('{u4}', worker => NULL)$$);
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim(worker => 'w2');
SELECT split_part(pg_temp.error_of($$SELECT pg_temp.tell('{u4}')$$), E'\n', 2) AS error;
SELECT split_part(pg_temp.error_of(format($$SELECT report(%s, 'w1', jsonb_build_array(jsonb_build_object('delivery_key', %L, 'channel', 'email', 'outcome', 'delivered')))$$, takeover_of, delivery_key)), E'\n', 2) AS error
FROM claims JOIN claimed c USING (claim_id) WHERE c.alert_id = 'u4' AND c.worker = 'w2';
SELECT pg_temp.tell('{u4}', worker => 'w2');
SELECT count(*) AS open FROM open_claims();
