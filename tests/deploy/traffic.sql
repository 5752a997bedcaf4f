-- One round of what happens to alerts: delivered, a duplicate, a host that is not there, a user whom nobody reaches.
SELECT pgalert.deliver_alert(jsonb_build_object('id', 'ok-' || clock_timestamp(), 'channels', '{webhook,inapp}'::text[], 'priority', 'live'), 'ann', 'ok');
SELECT pgalert.deliver_alert('{"id": "again", "channels": ["inapp"]}', 'ann', 'again');
SELECT pgalert.deliver_alert('{"id": "again", "channels": ["inapp"]}', 'ann', 'otherwise');
SELECT pgalert.deliver_alert(jsonb_build_object('id', 'dead-' || clock_timestamp(), 'channels', '{webhook}'::text[], 'priority', 'live'), 'ben', 'dead');
SELECT pgalert.deliver_alert(jsonb_build_object('id', 'nobody-' || clock_timestamp(), 'channels', '{webhook}'::text[], 'priority', 'live'), 'nobody', 'nobody');
