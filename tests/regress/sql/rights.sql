-- Who may do what.
--   1. Each function, table, view and sequence against each role: nothing for a stranger, nothing for PUBLIC.
--   2. SECURITY DEFINER functions have a pinned search_path and belong, like all else, to pgalert_owner, which cannot log in.
--   3. Each public function (no leading _) has a comment; so has each table.
--   4. GRANT pgalert_producer is all that an application needs; a driver, an operator and a monitor can do their work.
--   5. Nobody's temporary tables, schemas, functions or operators change what a function or a view does.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_app, regress_driver, regress_operator, regress_monitor, regress_stranger;
CREATE ROLE regress_app;
CREATE ROLE regress_driver;
CREATE ROLE regress_operator;
CREATE ROLE regress_monitor;
CREATE ROLE regress_stranger;
GRANT pgalert_producer TO regress_app;
GRANT pgalert_driver TO regress_driver;
GRANT pgalert_operator TO regress_operator;
GRANT pgalert_monitor TO regress_monitor;
CREATE TEMPORARY TABLE roles (n integer, label text, role text);
INSERT INTO roles VALUES (1, 'producer', 'regress_app'), (2, 'driver', 'regress_driver'), (3, 'operator', 'regress_operator'), (4, 'monitor', 'regress_monitor'),
  (5, 'stranger', 'regress_stranger');
\pset null -

-- 1
SELECT label, has_schema_privilege(role, 'pgalert', 'USAGE') AS usage, has_schema_privilege(role, 'pgalert', 'CREATE') AS create FROM roles ORDER BY n;
SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS function, may.execute
FROM pg_proc p CROSS JOIN LATERAL (SELECT string_agg(label, ' ' ORDER BY n) AS execute FROM roles WHERE has_function_privilege(role, p.oid, 'EXECUTE')) AS may
WHERE p.pronamespace = 'pgalert'::regnamespace AND (p.proname !~ '^_' OR may.execute IS NOT NULL)
ORDER BY p.proname COLLATE "C", p.pronargs;
SELECT c.relname AS relation, c.relkind AS kind, string_agg(r.label || ': ' || may.list, ', ' ORDER BY r.n) AS may
FROM pg_class c CROSS JOIN roles r
CROSS JOIN LATERAL (SELECT string_agg(lower(privilege), ' ' ORDER BY privilege) AS list
                    FROM unnest(CASE c.relkind WHEN 'S' THEN '{USAGE,SELECT,UPDATE}' ELSE '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}' END::text[]) privilege
                    WHERE CASE c.relkind WHEN 'S' THEN has_sequence_privilege(r.role, c.oid, privilege) ELSE has_table_privilege(r.role, c.oid, privilege) END) AS may
WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
GROUP BY c.oid, c.relname, c.relkind ORDER BY 3 NULLS LAST, c.relname COLLATE "C";
SELECT 'function' AS kind, p.oid::regprocedure::text AS for_public FROM pg_proc p
WHERE p.pronamespace = 'pgalert'::regnamespace AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
UNION ALL
SELECT 'relation', c.oid::regclass::text FROM pg_class c
WHERE c.relnamespace = 'pgalert'::regnamespace AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
UNION ALL
SELECT 'schema', n.nspname FROM pg_namespace n WHERE n.nspname = 'pgalert' AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0);

-- 2
SELECT p.oid::regprocedure AS without_pinned_path FROM pg_proc p
WHERE p.pronamespace = 'pgalert'::regnamespace AND p.prosecdef AND NOT coalesce('search_path=pgalert, pg_temp' = ANY (p.proconfig), false);
SELECT kind, name, pg_get_userbyid(owner) AS owner
FROM (SELECT 'function' AS kind, oid::regprocedure::text AS name, proowner AS owner FROM pg_proc WHERE pronamespace = 'pgalert'::regnamespace
      UNION ALL SELECT 'relation', oid::regclass::text, relowner FROM pg_class WHERE relnamespace = 'pgalert'::regnamespace) AS objects
WHERE owner <> 'pgalert_owner'::regrole;
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname LIKE 'pgalert\_%' ORDER BY 1;
SELECT count(*) AS memberships_among_the_roles FROM pg_auth_members WHERE member::regrole::text LIKE 'pgalert\_%' AND roleid::regrole::text LIKE 'pgalert\_%';
SELECT extname, extrelocatable, v.trusted FROM pg_extension e JOIN pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion WHERE extname = 'pgalert';

-- 3
SELECT p.oid::regprocedure AS without_comment FROM pg_proc p
WHERE p.pronamespace = 'pgalert'::regnamespace AND p.proname !~ '^_' AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass AS without_comment FROM pg_class c
WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') IS NULL;

-- 4
SET SESSION AUTHORIZATION regress_app;
SELECT pgalert.deliver_alert('{"id": "a1", "channels": ["email", "inapp"]}', 'u1', 'm');
SELECT ordinal, status FROM pgalert.deliver_alerts(ARRAY['{"alert": {"id": "a2"}, "user_id": "u1", "message": "m2"}', '{"alert": {"id": "a2"}, "user_id": "u1", "message": "m2"}']::jsonb[]);
SELECT alert_id FROM pgalert.inbox('u1');
SELECT pgalert.mark_read('u1');
SELECT event FROM pgalert.alert_history('a1', 'u1') ORDER BY event;
SELECT pgalert.check_duplicate_delivery(pgalert.compute_content_hash(NULL, 'm2', 'u1'));
SELECT pgalert.listen_inbox(), pgalert.inbox_channel('u1') LIKE 'pgalert\_inbox\_%' AS channel;
SELECT pgalert.track_delivery('a3', '{"message": "m3", "user_id": "u1"}', '["email"]') IS NOT NULL, pgalert.push_to_dlq('a4', '{"message": "m4", "user_id": "u1", "notify_email": true}', 'e') IS NOT NULL;
SELECT count(*) FROM pgalert.claim_batch('w', 1, '1 minute');
SELECT count(*) FROM pgalert.outbox;
SELECT nextval('pgalert.message_id');
SELECT pgalert._give_back(NULL, NULL, NULL);
SET ROLE pgalert_owner;
SET ROLE pgalert_driver;
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION regress_driver;
SELECT pgalert.announce_sleep('1 second');
SELECT claim_id, delivery_key FROM pgalert.claim_batch('w', 1, '1 minute') \gset
SELECT pgalert.extend_lease(:claim_id, 'w', '1 minute') IS NOT NULL AS extended,
       pgalert.report(:claim_id, 'w', jsonb_build_array(jsonb_build_object('delivery_key', :'delivery_key', 'channel', 'email', 'outcome', 'failed')));
SELECT pgalert.schedule_retries(), pgalert.count_waiting(), pgalert.hold_reason(), pgalert.rotate_outbox() IS NOT NULL AS rotated, pgalert.maintain() ? 'dedup_keys_purged' AS maintained, pgalert.setting('time_zone');
SELECT lane, waiting FROM pgalert.queue_depth() ORDER BY lane;
SELECT pgalert.deliver_alert('{"id": "a1"}', 'u1', 'm');
SELECT pgalert.confirm_cluster();
SELECT count(*) FROM pgalert.recipients;
SELECT count(*) FROM pgalert.recipient_secrets;
RESET SESSION AUTHORIZATION;

-- Nobody needs to make temporary tables.
SELECT current_database() AS database \gset
REVOKE TEMPORARY ON DATABASE :"database" FROM PUBLIC;
SET SESSION AUTHORIZATION regress_operator;
SELECT alert_id, state FROM pgalert.get_failed_alerts() ORDER BY alert_id;
SELECT pgalert.increment_retry_count(id), pgalert.remove_from_dlq(id) FROM pgalert.alert_dlq WHERE alert_id = 'a4';
SELECT pgalert.remove_recipient(pgalert.add_recipient('u1', 'email', 'u1@example.com')), (SELECT count(*) FROM pgalert.list_recipients('u1'));
SELECT pgalert.rotate_secret(pgalert.add_recipient('u1', 'webhook', 'https://example.com/'), 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'), pgalert.add_channel('ntfy'), pgalert.remove_channel('ntfy'), (SELECT count(*) FROM pgalert.list_channels());
SELECT count(*) FROM pgalert.recipient_secrets;
SELECT pgalert.set_setting('retention', '30 days');
INSERT INTO pgalert.policies (name) VALUES ('ours');
INSERT INTO pgalert.channels VALUES ('pager');
SELECT count(*) FROM pgalert.all_policies;
SELECT pgalert.confirm_cluster();
SELECT event FROM pgalert.alert_history('a1', 'u1') ORDER BY event;
DELETE FROM pgalert.alert_dlq;
SELECT count(*) FROM pgalert.claim_batch('w', 1, '1 minute');
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION regress_monitor;
SELECT lane, waiting FROM pgalert.queue_depth() ORDER BY lane;
SELECT count(*) FROM pgalert.open_claims();
SELECT pgalert.setting('retention'), pgalert.hold_reason(), (SELECT count(*) FROM pgalert.all_policies);
SELECT channel, deliveries, p50_seconds > 0 AS p50, p99_seconds > 0 AS p99 FROM pgalert.delivery_stats_hourly ORDER BY 1;
SELECT channel, by_retry FROM pgalert.retry_stats ORDER BY 1;
SELECT state, letters FROM pgalert.dlq_states WHERE letters > 0 ORDER BY 1;
SELECT state, error_class, letters FROM pgalert.dlq_errors ORDER BY 1, 2;
SELECT jsonb_typeof(pgalert.overview()), (SELECT count(*) > 0 FROM pgalert.metrics()) AS metrics, (SELECT count(*) > 0 FROM pgalert.error_groups()) AS groups;
SELECT pgalert.set_setting('retention', '1 day');
SELECT count(*) FROM pgalert.alert_dlq;
RESET SESSION AUTHORIZATION;

-- 5
GRANT TEMPORARY ON DATABASE :"database" TO PUBLIC;
GRANT CREATE ON DATABASE :"database" TO regress_app;
SET SESSION AUTHORIZATION regress_app;
CREATE SCHEMA evil;
CREATE FUNCTION evil.hijacked() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked, with the rights of %', current_user; END $$;
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.hijacked()';
CREATE FUNCTION evil.equal(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.hijacked()';
CREATE FUNCTION evil.within(text[], text[]) RETURNS boolean LANGUAGE sql AS 'SELECT evil.hijacked()';
CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = uuid, RIGHTARG = uuid);
CREATE OPERATOR evil.<@ (FUNCTION = evil.within, LEFTARG = text[], RIGHTARG = text[]);
CREATE FUNCTION evil.length(text) RETURNS integer LANGUAGE sql AS 'SELECT evil.hijacked()::integer';
CREATE FUNCTION evil.array_remove(text[], text) RETURNS text[] LANGUAGE sql AS 'SELECT evil.hijacked()::text::text[]';
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT evil.hijacked()::text::timestamptz';
CREATE FUNCTION evil._check_text(text, text, integer) RETURNS void LANGUAGE sql AS 'SELECT evil.hijacked()';
CREATE FUNCTION evil._now_ms() RETURNS bigint LANGUAGE sql AS 'SELECT evil.hijacked()::text::bigint';
CREATE FUNCTION evil._class_seconds(smallint) RETURNS double precision LANGUAGE sql AS 'SELECT evil.hijacked()::text::double precision';
CREATE FUNCTION evil.less(smallint, numeric) RETURNS numeric LANGUAGE sql AS 'SELECT evil.hijacked()::text::numeric';
CREATE OPERATOR evil.- (FUNCTION = evil.less, LEFTARG = smallint, RIGHTARG = numeric);
CREATE DOMAIN evil.uuid AS uuid CHECK (evil.hijacked());
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE TABLE evil.settings (name text, value text);
INSERT INTO evil.settings VALUES ('time_zone', 'Nowhere');
CREATE TEMPORARY TABLE dedup_keys (content_key uuid, day_key uuid, content_until timestamptz, day_until timestamptz, owner uuid);
CREATE TEMPORARY TABLE policies (LIKE evil.settings);
CREATE TEMPORARY TABLE outbox (LIKE evil.settings);
CREATE TEMPORARY TABLE settings (LIKE evil.settings);
CREATE TEMPORARY TABLE pg_class (LIKE evil.settings);
CREATE TEMPORARY TABLE pg_database (LIKE evil.settings);
CREATE TEMPORARY SEQUENCE outbox_slot;
SET search_path = evil, pg_temp, pgalert, pg_catalog;
SELECT pgalert.deliver_alert('{"id": "e1", "channels": ["email", "inapp"]}', 'u1', 'evil');
SELECT pgalert.deliver_alert('{"id": "e1", "channels": ["email", "inapp"]}', 'u1', 'evil');
SELECT status FROM pgalert.deliver_alerts(ARRAY['{"alert": {"id": "e2"}, "user_id": "u1", "message": "evil too"}']::jsonb[]);
SELECT count(*) FROM pgalert.inbox('u1');
SELECT pgalert.mark_read('u1'), pgalert.push_to_dlq('e3', '{"notify_email": true}', 'e') IS NOT NULL AS pushed, pgalert.track_delivery('e4', '{}', '["email"]') IS NOT NULL AS tracked;
SELECT pgalert.check_duplicate_delivery('x'), (SELECT count(*) > 0 FROM pgalert.alert_history('e1', 'u1')) AS history;
RESET search_path;
RESET SESSION AUTHORIZATION;
SET search_path = evil, pg_temp, pgalert, pg_catalog;
SET SESSION AUTHORIZATION regress_driver;
SET search_path = evil, pg_temp, pgalert, pg_catalog;
SELECT alert_id FROM pgalert.claim_batch('w', 10, '1 minute');
SELECT pgalert.maintain() ? 'dedup_keys_purged' AS maintained, pgalert.schedule_retries();
RESET SESSION AUTHORIZATION;
RESET search_path;
SET SESSION AUTHORIZATION regress_monitor;
SET search_path = evil, pg_temp, pgalert, pg_catalog;
SELECT sum(deliveries) > 0 AS counted, bool_and(p50_seconds > 0) AS p50 FROM pgalert.delivery_stats_hourly;
RESET SESSION AUTHORIZATION;
RESET search_path;
SELECT count(*) AS kept_where_it_belongs FROM pgalert.outbox WHERE alert_id = 'e1';

DROP SCHEMA evil CASCADE;
REVOKE CREATE ON DATABASE :"database" FROM regress_app;
DROP OWNED BY regress_app, regress_driver, regress_operator, regress_monitor, regress_stranger;
DROP ROLE regress_app, regress_driver, regress_operator, regress_monitor, regress_stranger;
