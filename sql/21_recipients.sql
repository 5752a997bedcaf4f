-- Channels beyond the built-in ones, and where users are reached: addresses, and the secrets that messages to them are signed with.

-- Refuses names that neither the extension nor table channels knows.
CREATE FUNCTION _check_channels(names text[]) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  unknown text;
BEGIN
  IF names <@ _builtin_channels() THEN
    RETURN;
  END IF;
  SELECT n INTO unknown FROM unnest(names) n
  WHERE n <> ALL (_builtin_channels()) AND NOT EXISTS (SELECT FROM channels c WHERE c.name = n)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'there is no channel "%"', unknown USING ERRCODE = 'undefined_object',
      DETAIL = 'Built in are inapp, email, slack, sms and webhook.',
      HINT = 'Make its name known with pgalert.add_channel(), or correct it.';
  END IF;
END
$$;

CREATE FUNCTION add_channel(name text, description text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,62}$' THEN
    RAISE EXCEPTION 'a channel cannot be named "%"', coalesce(name, 'NULL') USING ERRCODE = 'invalid_name',
      DETAIL = 'A name is 1 to 63 lower-case letters, digits and "_", and begins with a letter.', HINT = 'For example "pagerduty".';
  ELSIF name = ANY (_builtin_channels()) THEN
    RETURN false;
  ELSIF description IS NOT NULL THEN
    PERFORM _check_text('description', description, 500);
  END IF;
  INSERT INTO channels VALUES (add_channel.name, add_channel.description) ON CONFLICT DO NOTHING;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION add_channel(text, text) IS 'Makes the name of a channel known, so that alerts and addresses may use it; a driver must have it configured to send through it. Returns false where it is known already. Raises 42602 for what cannot be a name, 22023 or 22001 for a description that is empty, too long (500 characters) or has control characters.';

CREATE FUNCTION remove_channel(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF name = ANY (_builtin_channels()) THEN
    RAISE EXCEPTION 'channel "%" is built in', name USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = 'The extension itself knows inapp, email, slack, sms and webhook.',
      HINT = 'Leave it unconfigured in the driver where it is not wanted.';
  END IF;
  DELETE FROM channels c WHERE c.name = remove_channel.name;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION remove_channel(text) IS 'Alerts and new addresses that name this channel are refused from now on; addresses that it has stay, and what is queued is sent. Returns false for a name that there is not. Raises 55000 for a built-in channel.';

CREATE FUNCTION list_channels() RETURNS TABLE (name text, builtin boolean, description text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT b.name, true, NULL FROM unnest(_builtin_channels()) AS b (name)
  UNION ALL SELECT c.name, false, c.description FROM channels c
  ORDER BY 2 DESC, 1
$$;
COMMENT ON FUNCTION list_channels() IS 'Names of channels that alerts may use: the built-in ones, then those of add_channel().';

-- As Standard Webhooks has it. The error never repeats the secret.
CREATE FUNCTION _check_secret(secret text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  valid boolean := secret ~ '^whsec_[A-Za-z0-9+/]+={0,2}$';
BEGIN
  IF valid THEN
    BEGIN
      valid := octet_length(decode(substr(secret, 7), 'base64')) BETWEEN 24 AND 64;
    EXCEPTION WHEN data_exception THEN
      valid := false;
    END;
  END IF;
  IF valid IS NOT TRUE THEN
    RAISE EXCEPTION 'this cannot be a secret' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = CASE WHEN secret IS NULL THEN 'It is NULL.' ELSE 'It is not "whsec_" with the base64 of 24 to 64 bytes.' END,
      HINT = '`pgalert recipients add --generate-secret` makes one.';
  END IF;
END
$$;

CREATE FUNCTION _note_many_addresses() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF pg_sequence_last_value('pgalert.many_addresses') IS NULL
     AND EXISTS (SELECT FROM (SELECT DISTINCT n.user_id FROM new_rows n) u
                 WHERE EXISTS (SELECT FROM recipients r WHERE r.user_id = u.user_id OFFSET 100)) THEN
    PERFORM nextval('pgalert.many_addresses');
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER counted AFTER INSERT ON recipients REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION _note_many_addresses();
ALTER TABLE recipients ENABLE ALWAYS TRIGGER counted;

CREATE FUNCTION _no_recipient(recipient_id bigint) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RAISE EXCEPTION 'there is no recipient %', coalesce(recipient_id::text, 'NULL') USING ERRCODE = 'undefined_object',
    DETAIL = 'It may have been removed.', HINT = 'pgalert.list_recipients() shows all.';
END
$$;

CREATE FUNCTION add_recipient(user_id text, channel text, address text, secret text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  id bigint;
BEGIN
  PERFORM _check_text('user_id', user_id, 255), _check_text('address', address, 2048);
  IF channel IS NULL OR channel = 'inapp' THEN
    RAISE EXCEPTION 'channel % takes no address', coalesce(quote_ident(channel), 'NULL') USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'An address belongs to one channel, and inapp has none.',
      HINT = 'In-app alerts reach every user; other channels need an address.';
  END IF;
  PERFORM _check_channels(ARRAY[channel]);
  IF secret IS NOT NULL THEN
    PERFORM _check_secret(secret);
  END IF;
  INSERT INTO recipients AS r (user_id, channel, address)
  VALUES (add_recipient.user_id, add_recipient.channel, add_recipient.address)
  ON CONFLICT ON CONSTRAINT recipients_user_id_channel_address_key DO NOTHING
  RETURNING r.recipient_id INTO id;
  IF id IS NULL THEN
    SELECT r.recipient_id INTO id FROM recipients r
    WHERE r.user_id = add_recipient.user_id AND r.channel = add_recipient.channel AND r.address = add_recipient.address;
  END IF;
  IF secret IS NOT NULL THEN
    INSERT INTO recipient_secrets VALUES (id, ARRAY[secret]) ON CONFLICT DO NOTHING;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM recipient_secrets s WHERE s.recipient_id = id AND s.secrets[1] = secret) THEN
      RAISE EXCEPTION 'recipient % has another secret', id USING ERRCODE = 'object_not_in_prerequisite_state',
        DETAIL = 'Its receiver would refuse what is signed with a secret that it does not know yet.',
        HINT = 'pgalert.rotate_secret() replaces it; for a time both are valid.';
    END IF;
  END IF;
  RETURN id;
END
$$;
COMMENT ON FUNCTION add_recipient(text, text, text, text) IS 'Adds an address of a user for a channel (not inapp) and returns its recipient_id; an address that is there already is returned as it is. What is sent there is signed with the secret, "whsec_" and the base64 of 24 to 64 bytes, where one is given. Raises 42704 for an unknown channel, 22023 or 22001 for a user or address that is empty, too long (255, 2048 characters) or has control characters, 22021 for an address that is not in UTF-8, 22023 for what is no secret, 55000 where the address has another secret.';

CREATE FUNCTION remove_recipient(recipient_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  DELETE FROM recipients r WHERE r.recipient_id = remove_recipient.recipient_id;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION remove_recipient(bigint) IS 'Removes an address, with its secrets. Returns false where there is none of that recipient_id.';

CREATE FUNCTION rotate_secret(recipient_id bigint, new_secret text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  PERFORM _check_secret(new_secret);
  PERFORM FROM recipients r WHERE r.recipient_id = rotate_secret.recipient_id FOR KEY SHARE;
  IF NOT FOUND THEN
    PERFORM _no_recipient(recipient_id);
  END IF;
  INSERT INTO recipient_secrets AS s VALUES (rotate_secret.recipient_id, ARRAY[new_secret])
  ON CONFLICT ON CONSTRAINT recipient_secrets_pkey
  DO UPDATE SET secrets = new_secret || s.secrets[1:1], changed_at = now() WHERE s.secrets[1] <> new_secret;
END
$$;
COMMENT ON FUNCTION rotate_secret(bigint, text) IS 'Gives an address a new secret. What is sent is signed with both it and the one before, until the next rotation or drop_old_secret(). Raises 42704 where there is none of that recipient_id, 22023 for what is no secret.';

CREATE FUNCTION drop_old_secret(recipient_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  UPDATE recipient_secrets s SET secrets = s.secrets[1:1], changed_at = now()
  WHERE s.recipient_id = drop_old_secret.recipient_id AND cardinality(s.secrets) = 2;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION drop_old_secret(bigint) IS 'Signs with the newest secret of an address alone, when its receiver knows it. Returns false where there was no older one.';

CREATE FUNCTION _disable_recipient(recipient_id bigint, reason text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE recipients r SET disabled_at = clock_timestamp(), disabled_reason = left(reason, 500)
  WHERE r.recipient_id = _disable_recipient.recipient_id AND r.disabled_at IS NULL;
  RETURN FOUND;
END
$$;

CREATE FUNCTION enable_recipient(recipient_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  enabled recipients;
BEGIN
  UPDATE recipients r SET disabled_at = NULL, disabled_reason = NULL
  WHERE r.recipient_id = enable_recipient.recipient_id AND r.disabled_at IS NOT NULL
  RETURNING r.* INTO enabled;
  IF FOUND THEN
    PERFORM _log_action('enable_recipient', 0, detail => jsonb_build_object('recipient_id', recipient_id, 'user_id', enabled.user_id, 'channel', enabled.channel));
    RETURN true;
  END IF;
  IF NOT EXISTS (SELECT FROM recipients r WHERE r.recipient_id = enable_recipient.recipient_id) THEN
    PERFORM _no_recipient(recipient_id);
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION enable_recipient(bigint) IS 'Sends to an address again that was disabled because its receiver said that it is gone for good (HTTP 410), and writes it to operator_log. Returns false where it was not disabled. Raises 42704 where there is none of that recipient_id.';

CREATE FUNCTION list_recipients(for_user text DEFAULT NULL)
RETURNS TABLE (recipient_id bigint, user_id text, channel text, address text, created_at timestamptz, secrets integer,
               disabled_at timestamptz, disabled_reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT r.recipient_id, r.user_id, r.channel, r.address, r.created_at, coalesce(cardinality(s.secrets), 0), r.disabled_at, r.disabled_reason
  FROM recipients r LEFT JOIN recipient_secrets s ON s.recipient_id = r.recipient_id
  WHERE for_user IS NULL OR r.user_id = for_user
  ORDER BY r.user_id, r.channel, r.recipient_id
$$;
COMMENT ON FUNCTION list_recipients(text) IS 'Addresses of one user, or of all (NULL), by user and channel: how many secrets are valid (two while one is being rotated, never the secrets themselves), and since when and why nothing is sent there.';
