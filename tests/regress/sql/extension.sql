-- Roles belong to the cluster, the rest to the extension.
--   1. CREATE EXTENSION warns of roles that were there with members of somebody else's, and of an owner that can log in.
--   2. DROP EXTENSION leaves the roles and the empty schema, which Postgres makes no part of an extension, and nothing else.
--   3. CREATE EXTENSION again works, and begins anew: nothing is left of what was there.
--   4. A schema in which somebody has put functions or operators beforehand is refused; one that is somebody's gives a warning.
SET client_min_messages = warning;
\pset null NULL

-- 1
DROP EXTENSION pgalert;
CREATE ROLE regress_member;
CREATE ROLE "regress Other";
GRANT pgalert_driver TO regress_member, "regress Other";
GRANT pgalert_producer TO regress_member;
ALTER ROLE pgalert_owner LOGIN;
CREATE EXTENSION pgalert;
ALTER ROLE pgalert_owner NOLOGIN;
REVOKE pgalert_driver FROM regress_member, "regress Other";
REVOKE pgalert_producer FROM regress_member;
DROP ROLE regress_member, "regress Other";

-- 2
SELECT pgalert.deliver_alert('{"id": "a", "channels": ["email", "inapp"]}', 'u1', 'm');
SELECT pgalert.maintain() ? 'partitions_added' AS has_partitions;
SELECT count(*) FROM pgalert.claim_batch('w', 10, '1 minute');
DROP EXTENSION pgalert;
SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) AS relations, (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid) AS functions,
       (SELECT count(*) FROM pg_type WHERE typnamespace = n.oid) AS types FROM pg_namespace n WHERE nspname = 'pgalert';
SELECT classid::regclass, objid FROM pg_shdepend d WHERE refclassid = 'pg_authid'::regclass AND refobjid::regrole::text ~ '^pgalert_'
  AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid <> 'pg_namespace'::regclass;
SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname ~ '^pgalert_' ORDER BY 1;

-- 3
CREATE EXTENSION pgalert;
SELECT pgalert.hold_reason();
SELECT count(*) FROM pgalert.inbox('u1');
SELECT count(*) FROM pgalert.claim_batch('w', 10, '1 minute');
SELECT pgalert.deliver_alert('{"id": "a", "channels": ["email"]}', 'u1', 'm') AS heard;
SELECT alert_id FROM pgalert.claim_batch('w', 10, '1 minute');

-- 4
DROP EXTENSION pgalert;
DROP SCHEMA pgalert;
CREATE ROLE regress_squatter;
CREATE SCHEMA pgalert AUTHORIZATION regress_squatter;
SET ROLE regress_squatter;
CREATE FUNCTION pgalert.format(text, integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
RESET ROLE;
\set VERBOSITY terse
CREATE EXTENSION pgalert;
DROP FUNCTION pgalert.format(text, integer);
CREATE EXTENSION pgalert;
DROP EXTENSION pgalert;
DROP SCHEMA pgalert;
DROP ROLE regress_squatter;
