//! SQL function `_claimed` of `sql/41_claim.sql`: the messages of a claim, with what they are sent by.

use std::collections::HashSet;

use pgrx::datum::{Array, IntoDatum};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{direct_function_call, pg_extern, pg_sys};

use crate::columns::Column;
use crate::error::Error;
use crate::index::Found;
use crate::installed::{self, Installed};
use crate::new_jsonb::jsonb_can_be;
use crate::number;
use crate::reached::{Address, Addresses};
use crate::recipients::{string, text, texts, Recipient, Recipients, Secrets};
use crate::rows::Rows;
use crate::snapshot::{self, Snapshot};
use crate::value::{self, Slot, Value};
use crate::window::{Outbox, Places, Window};
use crate::xid8::Xid8;

/// Of claim_batch().
pub const COLUMNS: usize = 15;

/// What was reported of a claim.
#[derive(Default)]
pub struct Told<'a> {
    finished: HashSet<i64>,
    /// Channels of messages that are not finished.
    channels: HashSet<(i64, &'a [u8])>,
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn _claimed(
    claim_id: i64,
    lane: i16,
    lo: &str,
    hi: &str,
    after_xid: Xid8,
    after_id: i64,
    upto_xid: Xid8,
    upto_id: i64,
    messages: i32,
    first_slot: i16,
    last_slot: i16,
    finished: Array<i64>,
    told_of: Array<i64>,
    told_channels: Array<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Rows<COLUMNS>, ErrorReport> {
    // SAFETY: the function is declared to return a set of so many columns.
    let mut rows = unsafe { Rows::new(fcinfo) };
    let after = (after_xid.0, after_id);
    let ranges = snapshot::window_ranges(&Snapshot::parse(lo)?, &Snapshot::parse(hi)?, after);
    let window = Window { lane, ranges, upto: (upto_xid.0, upto_id), ids: None };
    let told = Told {
        finished: finished.iter().flatten().collect(),
        channels: told_of
            .iter()
            .zip(told_channels.iter())
            .filter_map(|(id, channel)| id.zip(channel.map(str::as_bytes)))
            .collect(),
    };
    let here = installed::here();
    let mut claimed = Claimed::open(&here, told, &mut rows)?;
    let mut outbox = Outbox::open(here.outbox, (first_slot, last_slot))?;
    let mut left = messages;
    outbox.walk(&window, |row, place, _, (_, message_id)| {
        left -= 1;
        claimed.push(claim_id, message_id, row, place)?;
        Ok(left > 0)
    })?;
    outbox.close();
    claimed.close();
    Ok(rows)
}

/// Messages of a claim, on their way to its worker.
pub struct Claimed<'a> {
    told: Told<'a>,
    reach: Reach,
    channels: Channels,
    memory: PgMemoryContexts,
    rows: &'a mut Rows<COLUMNS>,
}

impl<'a> Claimed<'a> {
    pub fn open(
        here: &Installed,
        told: Told<'a>,
        rows: &'a mut Rows<COLUMNS>,
    ) -> Result<Self, Error> {
        let reach = Reach {
            recipients: Recipients::open(here.recipients)?,
            secrets: Secrets::open(here.recipient_secrets)?,
        };
        let memory = PgMemoryContexts::new("message of a claim");
        Ok(Self { told, reach, channels: Channels::default(), memory, rows })
    }

    /// One that is not finished.
    pub fn push(
        &mut self,
        claim_id: i64,
        message_id: i64,
        row: Found,
        place: &Places,
    ) -> Result<(), Error> {
        let Self { told, reach, channels, memory, rows } = self;
        if !told.finished.contains(&message_id) {
            let message = Message { row, place, claim_id, message_id };
            // SAFETY: what is made of a row is copied when the row is pushed.
            unsafe {
                memory.switch_to(|_| message.push(told, channels, reach, rows))?;
                memory.reset();
            }
        }
        Ok(())
    }

    pub fn close(self) {
        self.reach.recipients.close();
        self.reach.secrets.close();
    }
}

struct Message<'a> {
    row: Found,
    place: &'a Places,
    claim_id: i64,
    message_id: i64,
}

/// The channels of the last message, which most have: as they are stored, and each.
#[derive(Default)]
struct Channels {
    stored: Vec<u8>,
    names: Vec<Vec<u8>>,
}

impl Channels {
    /// SAFETY: the datum is a text[].
    unsafe fn read(&mut self, datum: pg_sys::Datum) {
        unsafe {
            let stored = text(datum);
            if stored != self.stored {
                self.stored = stored.to_vec();
                self.names = texts(datum).into_iter().map(<[u8]>::to_vec).collect();
            }
        }
    }
}

impl Message<'_> {
    /// SAFETY: memory that is made here is kept until the row was pushed.
    unsafe fn push(
        &self,
        told: &Told,
        channels: &mut Channels,
        reach: &mut Reach,
        rows: &mut Rows<COLUMNS>,
    ) -> Result<(), Error> {
        let Self { row, place, claim_id, message_id } = self;
        let as_it_is = |column| Column::from(row.get(column));
        let is_owed = |channel: &&[u8]| !told.channels.contains(&(*message_id, *channel));
        unsafe {
            if let Some(list) = row.get(place.channels) {
                channels.read(list);
            }
            let owed: Vec<&[u8]> =
                channels.names.iter().map(Vec::as_slice).filter(is_owed).collect();
            let names: Vec<&str>;
            let owed_column = if owed.len() == channels.names.len() {
                as_it_is(place.channels)
            } else {
                names = owed.iter().map(|name| value::text(name)).collect::<Result<_, _>>()?;
                Column::Texts(&names)
            };
            let user = row.get(place.user_id);
            let addresses = reach.addresses(user, &owed, row.get(place.owed_recipients))?;
            let alert_data = row.get(place.alert_data);
            let [name, text] = fields(alert_data, [b"name", b"message"])?;
            rows.push([
                Column::from(claim_id.into_datum()),
                Column::from(message_id.into_datum()),
                as_it_is(place.delivery_key),
                as_it_is(place.alert_id),
                Column::from(user),
                name,
                text,
                as_it_is(place.priority),
                owed_column,
                Column::Jsonb(&addresses),
                Column::from(alert_data),
                as_it_is(place.attempt),
                as_it_is(place.dlq_id),
                as_it_is(place.enqueued_at),
                as_it_is(place.traceparent),
            ]);
        }
        Ok(())
    }
}

/// Members of a jsonb as `->>` has them.
///
/// SAFETY: as above.
unsafe fn fields<'a, const N: usize>(
    jsonb: Option<pg_sys::Datum>,
    keys: [&[u8]; N],
) -> Result<[Column<'a>; N], Error> {
    let mut fields = [Column::Null; N];
    let Some(jsonb) = jsonb else { return Ok(fields) };
    unsafe {
        let whole = pg_sys::pg_detoast_datum(jsonb.cast_mut_ptr());
        let Value::Object(object) = Value::of(text(whole.into()))? else { return Ok(fields) };
        for member in object.members()? {
            let (key, slot) = member?;
            let Some(place) = keys.iter().position(|wanted| *wanted == key) else { continue };
            fields[place] = match slot.kind {
                value::STRING => Column::Bytes(slot.bytes),
                _ => {
                    let key = key.into_datum(); // a bytea has its length before it, as a text has
                    let text = pg_sys::jsonb_object_field_text;
                    Column::from(direct_function_call(text, &[Some(whole.into()), key]))
                }
            };
        }
    }
    Ok(fields)
}

struct Reach {
    recipients: Recipients,
    secrets: Secrets,
}

impl Reach {
    /// The addresses of a user, for the channels owed and, on some of them, only the recipients owed.
    fn addresses(
        &mut self,
        user: Option<pg_sys::Datum>,
        owed: &[&[u8]],
        owed_recipients: Option<pg_sys::Datum>,
    ) -> Result<Vec<u8>, Error> {
        let Self { recipients, secrets } = self;
        let mut addresses = Addresses::default();
        if let Some(user) = user {
            recipients.each(user, owed, |recipient| {
                if !recipient.is_disabled && is_owed(&recipient, owed_recipients) {
                    let secrets = secrets.of(recipient.recipient_id)?;
                    let address = string(recipient.address)?;
                    let address =
                        Address { recipient_id: recipient.recipient_id, address, secrets };
                    addresses.add(value::text(recipient.channel)?, address);
                }
                Ok(())
            })?;
        }
        let stored = addresses.stored();
        jsonb_can_be(&stored)?;
        Ok(stored)
    }
}

/// Retries owe a channel to some of its recipients, where the channel is named: `{channel: [recipient_id, …]}`.
fn is_owed(recipient: &Recipient, owed_recipients: Option<pg_sys::Datum>) -> bool {
    let Some(owed) = owed_recipients else { return true };
    // SAFETY: these functions take a jsonb and a text, a bigint, and two jsonb.
    unsafe {
        let channel = recipient.channel.into_datum(); // a bytea has its length before it, too
        let ids: Option<pg_sys::Datum> =
            direct_function_call(pg_sys::jsonb_object_field, &[Some(owed), channel]);
        let Some(ids) = ids else { return true };
        let id = number::stored(recipient.recipient_id);
        let id = value::write_scalar(Slot { kind: value::NUMBER, bytes: &id });
        let contains: Option<bool> =
            direct_function_call(pg_sys::jsonb_contains, &[Some(ids), id.into_datum()]);
        contains == Some(true)
    }
}
