-- What a user sets: settings and policies. Built-in values are code, tables hold what differs.

CREATE FUNCTION _default_setting(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE name
    WHEN 'time_zone' THEN 'UTC'
    WHEN 'environment' THEN 'default'
    WHEN 'rotate_bytes' THEN '67108864'
    WHEN 'retention' THEN '90 days'
  END
$$;

CREATE FUNCTION setting(name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  RETURN coalesce((SELECT s.value FROM settings s WHERE s.name = setting.name), _default_setting(name));
END
$$;
COMMENT ON FUNCTION setting(text) IS 'Value of a setting in force: as set, else the built-in default; NULL for a name that there is not.';

CREATE FUNCTION set_setting(name text, value text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  valid boolean;
BEGIN
  IF name IS NULL OR _default_setting(name) IS NULL THEN
    RAISE EXCEPTION 'there is no setting "%"', coalesce(name, 'NULL') USING ERRCODE = 'undefined_object',
      DETAIL = 'A name that nothing reads would have no effect.',
      HINT = 'Settings are time_zone, environment, rotate_bytes, retention.';
  END IF;
  IF value IS NULL THEN
    DELETE FROM settings s WHERE s.name = set_setting.name;
    RETURN;
  END IF;
  BEGIN
    valid := CASE name
      WHEN 'time_zone' THEN EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = set_setting.value)
      WHEN 'environment' THEN value ~ '^[A-Za-z0-9_.-]{1,63}$'
      WHEN 'rotate_bytes' THEN value::bigint BETWEEN 131072 AND 1099511627776
      WHEN 'retention' THEN value::interval BETWEEN '1 day' AND '100 years'
    END;
  EXCEPTION WHEN data_exception THEN
    valid := false;
  END;
  IF NOT valid THEN
    RAISE EXCEPTION 'setting "%" cannot be "%"', name, value USING ERRCODE = 'invalid_parameter_value',
      DETAIL = CASE name
        WHEN 'time_zone' THEN 'It is a name of pg_timezone_names.'
        WHEN 'environment' THEN 'It is 1 to 63 letters, digits, "_", "." or "-".'
        WHEN 'rotate_bytes' THEN 'It is a number of bytes from 131072 to 1099511627776.'
        WHEN 'retention' THEN 'It is an interval from 1 day to 100 years.'
      END,
      HINT = 'NULL restores the default, ' || _default_setting(name) || '.';
  END IF;
  INSERT INTO settings AS s VALUES (set_setting.name, set_setting.value)
  ON CONFLICT ON CONSTRAINT settings_pkey DO UPDATE SET value = excluded.value;
END
$$;
COMMENT ON FUNCTION set_setting(text, text) IS 'Sets time_zone, environment, rotate_bytes or retention; value NULL restores the default. Raises 42704 for an unknown name, 22023 for a value that does not fit.';

ALTER FUNCTION _builtin_policies() ROWS 3;

CREATE VIEW all_policies AS
SELECT p.name, p.lane, p.retry_schedule, p.jitter, p.dedup_window, p.daily_limit FROM policies p
UNION ALL
SELECT b.name, b.lane, b.retry_schedule, b.jitter, b.dedup_window, b.daily_limit
FROM _builtin_policies() AS b
WHERE NOT EXISTS (SELECT FROM policies p WHERE p.name = b.name);
COMMENT ON VIEW all_policies IS 'Policies in force: rows of policies, and the built-in ones that no row replaces.';

CREATE FUNCTION _lane_number(lane text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE lane WHEN 'high' THEN 0 WHEN 'normal' THEN 1 WHEN 'low' THEN 2 END::smallint $$;

CREATE FUNCTION _lane_name(lane smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE lane WHEN 0 THEN 'high' WHEN 1 THEN 'normal' WHEN 2 THEN 'low' END $$;

-- Fields of an alert's data that are text where they are given. A user may be a number.
CREATE FUNCTION _check_text_fields(alert_data jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT f.name, jsonb_typeof(alert_data -> f.name) AS kind INTO wrong
  FROM unnest('{user_id,message,priority,dedup_key,expires_at}'::text[]) AS f (name)
  WHERE jsonb_typeof(alert_data -> f.name) NOT IN ('string', 'null') AND NOT (f.name = 'user_id' AND jsonb_typeof(alert_data -> f.name) = 'number')
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% must be text', wrong.name USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is a JSON %s.', wrong.kind), HINT = format('Give %s as a JSON string.', wrong.name);
  END IF;
END
$$;

-- Text that goes into headers and logs: not empty, not too long, no control characters.
CREATE FUNCTION _check_text(what text, value text, max_length integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF value IS NULL OR value = '' THEN
    RAISE EXCEPTION '% must not be empty', what USING ERRCODE = 'invalid_parameter_value',
      DETAIL = CASE WHEN value IS NULL THEN 'It is NULL.' ELSE 'It is an empty string.' END,
      HINT = format('Give %s a text of 1 to %s characters.', what, max_length);
  ELSIF length(value) > max_length THEN
    RAISE EXCEPTION '% is too long', what USING ERRCODE = 'string_data_right_truncation',
      DETAIL = format('It has %s characters.', length(value)), HINT = format('At most %s are allowed.', max_length);
  ELSIF value ~ '[\x01-\x1f\x7f]' THEN
    RAISE EXCEPTION '% has a control character', what USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'Line breaks and other control characters could forge a header of what is sent.', HINT = 'Remove it.';
  END IF;
  PERFORM convert_from(convert_to(value, 'SQL_ASCII'), 'UTF8');  -- a database in SQL_ASCII holds other texts, too, which no claim could hand out
END
$$;
