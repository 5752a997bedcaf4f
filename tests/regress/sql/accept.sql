-- How an alert that is accepted is written: not by INSERT, and yet as INSERT would.
--    1. Its row is of the transaction, not of the savepoint in which it is fired; it is seen by what the transaction does next.
--    2. Every way of firing leaves the same row: alone, among many, and where there is more to look up.
--    3. Triggers for each row are fired, of the outbox and of dedup_keys, and may change the row. They look for names where pgalert does.
--    4. A transaction that may only read is refused, and takes no id.
--    5. Constraints hold. Where a table was changed by hand, the error names the column.
--    6. Functions that only pgalert's own call refuse what is none of their rows.
--    7. What fires the same again in one statement is told so, at each isolation level.
--    8. An application may make of notifications what it likes: add triggers, columns, policies or rules, or divide it into partitions.
--    9. In a WHERE it is called after what stands before it.
--   10. A session that has fired writes into the tables of an extension that is made anew.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
CREATE FUNCTION pg_temp.alert(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'name', 'Disk', 'channels', '["email"]'::jsonb) || more
$$;
CREATE FUNCTION pg_temp.bulk(id text, more jsonb DEFAULT '{}', user_id text DEFAULT 'many') RETURNS text LANGUAGE sql AS $$
  SELECT status FROM deliver_alerts(ARRAY[jsonb_build_object('alert', pg_temp.alert(id, more), 'user_id', user_id, 'message', id)])
$$;
CREATE FUNCTION pg_temp.fire(id text, user_id text, more jsonb DEFAULT '{}', dedup_window interval DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(pg_temp.alert(id, more), user_id, id, dedup_window)
$$;
SELECT pg_temp.fire('first', 'one');
SELECT set_setting('time_zone', NULL);
ALTER SEQUENCE settings_written RESTART;
SELECT pg_temp.fire('second', 'one');
SET track_functions = 'all';
SELECT set_setting('retention', '60 days'), set_setting('environment', 'production');
BEGIN;
SELECT pg_temp.fire('plain', 'one');
SELECT coalesce(sum(calls), 0) AS in_full FROM pg_stat_xact_user_functions WHERE funcname = '_deliver_in_full';
SELECT pg_temp.fire('third', 'one', dedup_window => '1 hour');
SELECT sum(calls) AS in_full FROM pg_stat_xact_user_functions WHERE funcname = '_deliver_in_full';
SELECT set_setting('time_zone', 'Asia/Tokyo');
SELECT pg_temp.fire('fourth', 'one');
SELECT sum(calls) AS in_full FROM pg_stat_xact_user_functions WHERE funcname = '_deliver_in_full';
SELECT set_setting('time_zone', NULL);
ALTER SEQUENCE settings_written RESTART;
COMMIT;
RESET track_functions;

-- 1
BEGIN;
SAVEPOINT a;
SELECT pg_temp.fire('saved', 'one'), pg_temp.bulk('saved');
SAVEPOINT b;
SELECT pg_temp.fire('saved', 'two', '{"expires_at": "2999-01-01"}');
SELECT user_id, xid = pg_current_xact_id() AS of_the_transaction, outbox.xmin::text = xid::text AS of_no_savepoint FROM outbox WHERE alert_id = 'saved' ORDER BY user_id;
SELECT pg_temp.fire('saved', 'one') AS again, pg_temp.bulk('saved') AS again_among_many;
ROLLBACK TO b;
RELEASE a;
COMMIT;
SELECT pg_temp.fire('saved', 'one') AS kept, pg_temp.fire('saved', 'two') AS rolled_back;

-- 2
SELECT pg_temp.fire('alike', 'one'), pg_temp.bulk('alike', user_id => 'two');
SELECT pg_temp.fire('alike', 'three', dedup_window => '24 hours');
SELECT count(*) AS messages, count(DISTINCT to_jsonb(o) - ARRAY['message_id', 'xid', 'delivery_key', 'user_id', 'content_hash', 'content_key', 'day_key', 'accepted_at', 'enqueued_at', 'bytes', 'alert_data']
                                            || jsonb_build_object('data', o.alert_data - 'user_id', 'at_once', accepted_at = enqueued_at)) AS kinds,
       count(DISTINCT message_id) AS message_ids, bool_and(bytes - pg_column_size(alert_data) BETWEEN 0 AND 3) AS sized
FROM outbox o WHERE alert_id = 'alike';
SELECT count(*) AS keys, bool_and(k.content_until - o.accepted_at = '24 hours') AS held_for_a_day
FROM outbox o JOIN dedup_keys k ON k.content_key = o.content_key AND k.owner = o.delivery_key WHERE alert_id = 'alike';
SELECT pg_temp.bulk('both', '{"channels": ["inapp", "email", "sms"]}'), pg_temp.fire('both', 'one', '{"channels": ["inapp", "email", "sms"]}');
SELECT user_id, channels, delivered_channels FROM outbox WHERE alert_id = 'both' ORDER BY user_id;
SELECT count(*) FROM deliver_alerts(ARRAY(SELECT jsonb_build_object('alert', pg_temp.alert('hundreds-' || i), 'user_id', 'many', 'message', 'm' || i) FROM generate_series(1, 250) i)) WHERE status = 'queued';
SELECT count(*) AS messages, count(DISTINCT o.message_id) AS message_ids, count(k) AS with_content, count(d) AS with_day
FROM outbox o LEFT JOIN dedup_keys k ON k.content_key = o.content_key AND k.owner = o.delivery_key
LEFT JOIN dedup_keys d ON d.day_key = o.day_key AND d.owner = o.delivery_key WHERE alert_id LIKE 'hundreds-%';

-- 3
CREATE TABLE public.written (alert_id text, priority text);
CREATE FUNCTION pg_temp.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.priority := upper(NEW.priority); RETURN NEW; END $$;
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.written VALUES (NEW.alert_id, NEW.priority); RETURN NULL; END $$;
GRANT INSERT ON public.written TO pgalert_owner;
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgalert_owner', (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema())); END $$;
CREATE FUNCTION pg_temp.note_keys() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.written VALUES (TG_WHEN, concat_ws('+', NEW.content_key, NEW.day_key)); RETURN NEW; END $$;
CREATE TRIGGER shout BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION pg_temp.shout();
CREATE TRIGGER note AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT pg_temp.fire('seen', 'one'), pg_temp.bulk('seen-among-many'), pg_temp.fire('seen-too', 'one', dedup_window => '1 hour');
SELECT w.alert_id, w.priority, o.priority AS kept FROM public.written w JOIN outbox o USING (alert_id) ORDER BY alert_id COLLATE "C";
DROP TRIGGER shout ON outbox;
DROP TRIGGER note ON outbox;
CREATE TRIGGER before_keys BEFORE INSERT ON dedup_keys FOR EACH ROW EXECUTE FUNCTION pg_temp.note_keys();
CREATE TRIGGER after_keys AFTER INSERT ON dedup_keys FOR EACH ROW EXECUTE FUNCTION pg_temp.note_keys();
TRUNCATE public.written;
SELECT pg_temp.fire('keys', 'one'), pg_temp.bulk('keys', user_id => 'two'), pg_temp.fire('keys', 'one') AS again;
SELECT o.user_id, w.alert_id, count(*) FROM public.written w JOIN outbox o ON w.priority IN (concat_ws('+', o.content_key, o.day_key), o.content_key::text, o.day_key::text)
WHERE o.alert_id = 'keys' GROUP BY 1, 2 ORDER BY 1, 2;
DROP TRIGGER before_keys ON dedup_keys;
DROP TRIGGER after_keys ON dedup_keys;
CREATE FUNCTION public.say_where() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% looks into % as %', TG_NAME, current_setting('search_path'), current_user; RETURN NEW; END $$;
CREATE FUNCTION public.says_where(what anyelement) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% looks into % as %', pg_typeof(what), current_setting('search_path'), current_user; RETURN true; END $$;
BEGIN;
CREATE TRIGGER before_row BEFORE INSERT ON dedup_keys FOR EACH ROW EXECUTE FUNCTION public.say_where();
CREATE TRIGGER after_row AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION public.say_where();
SET LOCAL search_path = public;
SELECT pg_temp.fire('where', 'one'), current_setting('search_path');
ROLLBACK;
TRUNCATE outbox, dedup_keys;
BEGIN;
ALTER TABLE outbox ADD CHECK (public.says_where(alert_id));
ALTER TABLE dedup_keys ADD CHECK (public.says_where(owner));
SET LOCAL search_path = public;
SELECT pg_temp.fire('where', 'one'), current_setting('search_path');
ROLLBACK;
BEGIN;
CREATE INDEX ON outbox (public.says_where(alert_id));
CREATE INDEX ON dedup_keys (owner) WHERE public.says_where(owner);
CREATE INDEX ON dedup_keys (owner) WHERE public.says_where(day_until) IS NOT NULL;
SET LOCAL search_path = public;
SELECT pg_temp.fire('where', 'one'), current_setting('search_path');
ROLLBACK;

-- 4
BEGIN READ ONLY;
SELECT pg_temp.fire('read', 'one');
ROLLBACK;
BEGIN READ ONLY;
SELECT pg_temp.bulk('read');
ROLLBACK;

-- 5
\set VERBOSITY terse
BEGIN;
ALTER TABLE outbox ADD CHECK (user_id <> 'nobody');
SELECT pg_temp.fire('checked', 'nobody');
ROLLBACK;
BEGIN;
ALTER TABLE outbox ADD CHECK (user_id <> 'nobody');
SELECT pg_temp.bulk('checked', user_id => 'nobody');
ROLLBACK;
BEGIN;
\set VERBOSITY default
ALTER TABLE outbox RENAME COLUMN bytes TO size;
SELECT pg_temp.fire('renamed', 'one');
ROLLBACK;
BEGIN;
ALTER TABLE dedup_keys DROP COLUMN owner CASCADE;
SELECT pg_temp.fire('renamed', 'one');
ROLLBACK;
\set VERBOSITY default
SELECT count(*) AS of_these_nothing FROM outbox WHERE alert_id IN ('read', 'checked', 'renamed');

-- 6
SELECT _enqueue_all(ARRAY[NULL]::firing[], '{0}', '{NULL}', now());
SELECT _enqueue_all(ARRAY[NULL]::firing[], '{1}', '{NULL}', now()) AS nothing_admitted;
SELECT _reserve_all('{}', now(), '{}', '{}', '{}') AS nothing_reserved;
SET ROLE pgalert_producer;
SELECT _deliver_in_full(NULL, false);
SELECT _wake_drivers();
RESET ROLE;

-- 7
CREATE FUNCTION pg_temp.fire_twice(id text) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.fire(id, 'one');
  RETURN pgalert.deliver_alert(pg_temp.alert(id), 'one', id);
END
$$;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT deliver_alert(pg_temp.alert('committed'), 'one', 'committed' || n) FROM unnest('{1,1,2}'::integer[]) n;
SELECT pg_temp.fire_twice('committed twice');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT deliver_alert(pg_temp.alert('repeatable'), 'one', 'repeatable' || n) FROM unnest('{1,1,2}'::integer[]) n;
SELECT pg_temp.fire_twice('repeatable twice');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT deliver_alert(pg_temp.alert('serializable'), 'one', 'serializable' || n) FROM unnest('{1,1,2}'::integer[]) n;
SELECT pg_temp.fire_twice('serializable twice');
COMMIT;

-- 8
CREATE FUNCTION public.count_shown() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% new', (SELECT count(*) FROM shown); RETURN NULL; END $$;
BEGIN;
CREATE TRIGGER before_statement BEFORE INSERT ON notifications FOR EACH STATEMENT EXECUTE FUNCTION public.say_where();
CREATE TRIGGER each_row AFTER INSERT ON notifications REFERENCING NEW TABLE AS shown FOR EACH ROW EXECUTE FUNCTION public.count_shown();
CREATE TRIGGER statement AFTER INSERT ON notifications REFERENCING NEW TABLE AS shown FOR EACH STATEMENT EXECUTE FUNCTION public.count_shown();
SELECT pg_temp.fire('shown', 'one', '{"channels": ["inapp", "email"]}'), pg_temp.fire('shown alone', 'one', '{"channels": ["inapp"]}');
ROLLBACK;
BEGIN;
ALTER TABLE notifications ADD COLUMN source text NOT NULL DEFAULT 'here', ADD COLUMN shouted text GENERATED ALWAYS AS (upper(message)) STORED;
SELECT pg_temp.fire('added', 'one', '{"channels": ["inapp", "email"]}'), pg_temp.fire('added alone', 'one', '{"channels": ["inapp"]}');
SELECT n.source, n.shouted, n.delivery_key = o.delivery_key AS is_sent_too FROM notifications n LEFT JOIN outbox o USING (alert_id) WHERE n.alert_id LIKE 'added%' ORDER BY 2;
ROLLBACK;
BEGIN;
ALTER TABLE notifications ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT pg_temp.fire('no policy', 'one', '{"channels": ["inapp", "email"]}');
ROLLBACK;
BEGIN;
ALTER TABLE notifications RENAME TO notifications_before;
CREATE TABLE notifications (LIKE notifications_before INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (created_at);
CREATE TABLE notifications_all PARTITION OF notifications DEFAULT;
ALTER TABLE notifications OWNER TO pgalert_owner;
SELECT pg_temp.fire('divided', 'one', '{"channels": ["inapp", "email"]}');
SELECT tableoid::regclass, alert_id FROM notifications;
ROLLBACK;
BEGIN;
CREATE RULE hidden AS ON INSERT TO notifications DO INSTEAD NOTHING;
SELECT pg_temp.fire('hidden', 'one', '{"channels": ["inapp", "email"]}');
SELECT (SELECT count(*) FROM notifications WHERE alert_id = 'hidden') AS shown, (SELECT count(*) FROM outbox WHERE alert_id = 'hidden') AS sent;
ROLLBACK;

-- 9
CREATE FUNCTION public.is_due(n integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN n = 2; END $$;
SELECT n FROM generate_series(1, 3) n WHERE public.is_due(n) AND deliver_alert(pg_temp.alert('due' || n), 'one', 'due' || n) = 'queued';
SELECT alert_id FROM outbox WHERE alert_id LIKE 'due%';

-- 10
SELECT _install_id() AS before \gset
DROP EXTENSION pgalert CASCADE;
CREATE EXTENSION pgalert;
SELECT pgalert.deliver_alert('{"id": "anew", "channels": ["email"]}', 'one', 'm') FROM generate_series(1, 2);
SELECT o.alert_id, k.owner = o.delivery_key AS reserved, o.install_id = _install_id() AS of_this_one, o.install_id <> :'before' AS of_another_before
FROM pgalert.outbox o JOIN pgalert.dedup_keys k USING (content_key);
