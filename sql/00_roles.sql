-- The schema. Functions that are in it already would be called by this script, with the rights of a superuser, so none may be; who
-- owns it may add some later.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 'pgalert'::pg_catalog.regnamespace::pg_catalog.oid)
     OR EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oprnamespace OPERATOR(pg_catalog.=) 'pgalert'::pg_catalog.regnamespace::pg_catalog.oid) THEN
    RAISE EXCEPTION 'schema "pgalert" has functions or operators already' USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = 'This script would call them with the rights of a superuser.', HINT = 'Find out whose they are, and DROP SCHEMA pgalert CASCADE.';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
             WHERE n.oid OPERATOR(pg_catalog.=) 'pgalert'::pg_catalog.regnamespace::pg_catalog.oid AND NOT r.rolsuper) THEN
    RAISE WARNING 'schema "pgalert" belongs to a role that is no superuser'
      USING HINT = 'It can add functions that those of pgalert would call: ALTER SCHEMA pgalert OWNER TO the role that you are.';
  END IF;
END
$$;

-- Roles. They belong to the cluster, not to the extension: created when missing, left in place by DROP EXTENSION.
DO $$
DECLARE
  role_name text;
  members text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['pgalert_owner', 'pgalert_producer', 'pgalert_driver', 'pgalert_operator', 'pgalert_monitor'] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this cluster creates the extension at this moment
      END;
    ELSE
      SELECT string_agg(quote_ident(member.rolname), ', ' ORDER BY member.rolname) INTO members
      FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles member ON member.oid = m.member
      WHERE m.roleid = role_name::regrole AND NOT member.rolname LIKE 'pgalert\_%';
      IF members IS NOT NULL THEN
        RAISE WARNING 'role "%" existed already and has members: %', role_name, members
          USING HINT = format('They now have the rights that pgalert gives to %I. Revoke what is not meant.', role_name);
      END IF;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgalert_owner' AND (rolcanlogin OR rolsuper)) THEN
    RAISE WARNING 'role "pgalert_owner" can log in or is a superuser'
      USING HINT = 'It owns pgalert''s functions: ALTER ROLE pgalert_owner NOLOGIN NOSUPERUSER.';
  END IF;
END
$$;
