//! SQL function `_report_plain` of `sql/42_report.sql`: messages that were delivered become rows of `alert_deliveries`.
//!
//! Nearly all reports are plain: of each message they say that its one channel was reached. Before anything is written it is known that
//! nothing else is to be recorded.

use std::cell::Cell;
use std::iter;
use std::ops::RangeInclusive;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{direct_function_call, pg_extern, pg_sys};

use crate::api::POSTGRES_EPOCH_MICROS;
use crate::arrays::Element;
use crate::columns::{Column, Columns};
use crate::deliveries;
use crate::delivery_counts::DeliveryCounts;
use crate::delivery_trigger;
use crate::error::Error;
use crate::held::{self, Held};
use crate::index::Found;
use crate::insert;
use crate::installed::{self, Installed};
use crate::internal::{_count_by, _restoring, now_micros};
use crate::jsonb::FlatObjects;
use crate::keys;
use crate::outcomes::{self, ChannelsTold, Delivered};
use crate::recipients::{string, text, texts};
use crate::sequence;
use crate::statement::as_of_now;
use crate::stored::Stored;
use crate::value::{write_array, Slot};
use crate::window::{Outbox, Places};

/// Declared in `sql/42_report.sql`.
#[pg_extern(sql = false)]
fn _report_plain(
    claim_id: i64,
    worker: Stored,
    outcomes: Stored,
) -> Result<Option<i32>, ErrorReport> {
    // SAFETY: the session's state, and arguments that are declared as text and jsonb.
    let (may_write, worker, flat) = unsafe {
        let is_read_committed = pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32;
        let flat = outcomes.read::<FlatObjects>().and_then(|objects| objects.0);
        let worker = worker.read::<&[u8]>().unwrap_or_default();
        (is_read_committed && !pg_sys::XactReadOnly, worker, flat)
    };
    let told = flat.and_then(|objects| outcomes::delivered(&objects));
    let Some(told) = told.filter(|told| may_write && !worker.is_empty() && !told.is_empty()) else {
        return Ok(None);
    };
    let here = installed::here();
    let held = as_of_now(|| held::lock(&here, claim_id, worker))?;
    let Some(held) = held else { return Ok(None) };
    Ok(as_of_now(|| record(&here, &held, told))?)
}

fn record(here: &Installed, held: &Held, told: Vec<Delivered>) -> Result<Option<i32>, Error> {
    let Some(finished) = held::finished(here, held)? else { return Ok(None) };
    let at = now_micros() - POSTGRES_EPOCH_MICROS;
    let Some(segment) = sequence::last_value(here.delivery_segment) else { return Ok(None) };
    let Some(partition) = deliveries::partition(here, at) else { return Ok(None) };
    let Some(ids) = outcomes::ids(&told, &finished).filter(|_| log_is_as_made(here, held)) else {
        return Ok(None);
    };
    let (count, told, segment) = (told.len(), ChannelsTold::new(told), segment as i32);
    let mut search = Search { here, held, told, count, ids, at, segment };
    let Some(found) = search.find()? else { return Ok(None) };
    let delivered = found.message_ids.len();
    deliveries::put(partition, found.rows.iter().map(Columns::values))?;
    if !_restoring() {
        delivery_trigger::write(&found.counts, here.delivery_stats_new)?;
    }
    let has_ended = finished.len() + delivered >= held.messages;
    log(here, held, &found.message_ids, has_ended.then_some("finished"))?;
    // Nothing raises any more: a counter is not undone.
    let (hundreds, tens) = (here.count_sent_hundreds, here.count_sent_tens);
    _count_by(hundreds, tens, here.count_sent, delivered as i64);
    begin_segment_after(delivered);
    Ok(Some(delivered as i32))
}

/// The rows that the messages told of become.
#[derive(Default)]
struct Deliveries {
    message_ids: Vec<i64>,
    rows: Vec<Columns<11>>,
    counts: DeliveryCounts,
}

const START: (u64, i64) = (0, 0);

thread_local! {
    /// The claim of the last report, and where in its window the last of these messages was.
    static CAME_TO: Cell<(i64, (u64, i64))> = const { Cell::new((0, START)) };
}

/// Looks for the messages of a report.
struct Search<'a> {
    here: &'a Installed,
    held: &'a Held,
    told: ChannelsTold<'a>,
    count: usize,
    ids: RangeInclusive<i64>,
    at: i64,
    segment: i32,
}

impl Search<'_> {
    /// None where a message is not found, or owes another channel than the one told of, or is a retry. Behind the last report first: each
    /// message on the way costs, even where only the index is read.
    fn find(&mut self) -> Result<Option<Deliveries>, Error> {
        let (claim_id, came_to) = CAME_TO.get();
        let found = match claim_id == self.held.claim_id {
            true => self.find_behind(came_to)?,
            false => None,
        };
        match found {
            None => self.find_behind(START),
            found => Ok(found),
        }
    }

    fn find_behind(&mut self, position: (u64, i64)) -> Result<Option<Deliveries>, Error> {
        let Self { here, held, told, count, ids, at, segment } = self;
        let mut is_found = vec![false; *count];
        let mut found = Deliveries::default();
        let mut channels = Channels::default();
        let mut left = held.messages;
        let mut is_plain = true;
        let mut came_to = START;
        let each = |row: Found, place: &Places, _, position: (u64, i64)| {
            left -= 1;
            let message = Message { row, place };
            if let Some(place) = message.delivery_key().and_then(|key| told.find(key, position.1)) {
                is_plain = !std::mem::replace(&mut is_found[place], true)
                    && row.get(message.place.dlq_id).is_none()
                    && channels.read(&message)? == Some(told.channel(place))
                    && found.add(&message, &channels, *at, *segment)?;
                found.message_ids.push(position.1);
                came_to = position;
            }
            Ok(is_plain && left > 0 && found.message_ids.len() < *count)
        };
        let mut outbox = Outbox::open(here.outbox, held.slots)?;
        outbox.walk(&held.window(position, ids.clone()), each)?;
        outbox.close();
        CAME_TO.set((held.claim_id, came_to));
        Ok(Some(found).filter(|found| is_plain && found.message_ids.len() == *count))
    }
}

/// A row of the outbox.
struct Message<'a> {
    row: Found,
    place: &'a Places,
}

impl Message<'_> {
    fn delivery_key(&self) -> Option<uuid::Uuid> {
        let key = self.row.get(self.place.delivery_key)?;
        // SAFETY: the column is a uuid.
        Some(uuid::Uuid::from_bytes(unsafe { *key.cast_mut_ptr::<[u8; 16]>() }))
    }

    fn text(&self, column: i32) -> Option<Column<'_>> {
        // SAFETY: the columns that are asked for are texts, and stay until the next row is asked for.
        Some(Column::Bytes(unsafe { text(self.row.get(column)?) }))
    }
}

/// The channels of the last message, which most have: as they are stored, and what a delivery has of them.
#[derive(Default)]
struct Channels {
    before: Vec<u8>,
    owed: Vec<u8>,
    /// Of all that were reached.
    names: Vec<String>,
    methods: Vec<u8>,
    /// The one that is owed.
    channel: Option<String>,
}

impl Channels {
    /// The one channel that a message owes; None where it owes several.
    fn read(&mut self, message: &Message) -> Result<Option<&str>, Error> {
        let lists = [message.place.delivered_channels, message.place.channels]
            .map(|list| message.row.get(list));
        let [Some(before), Some(owed)] = lists else { return Ok(None) };
        // SAFETY: the columns are of type text[].
        unsafe {
            let stored = [before, owed].map(|list| text(list));
            if stored != [&*self.before, &*self.owed] {
                let before: Vec<String> =
                    texts(before).into_iter().map(string).collect::<Result<_, _>>()?;
                let mut owed: Vec<String> =
                    texts(owed).into_iter().map(string).collect::<Result<_, _>>()?;
                self.channel = owed.first().filter(|_| owed.len() == 1).cloned();
                self.names = before;
                self.names.append(&mut owed);
                let names: Vec<Slot> = self.names.iter().map(|name| Slot::text(name)).collect();
                self.methods = write_array(&names);
                [self.before, self.owed] = stored.map(<[u8]>::to_vec);
            }
        }
        Ok(self.channel.as_deref())
    }
}

impl Deliveries {
    /// False where the message has no such value.
    fn add(
        &mut self,
        message: &Message,
        channels: &Channels,
        at: i64,
        segment: i32,
    ) -> Result<bool, Error> {
        let Message { row, place } = message;
        let (Some(attempt), Some(accepted_at)) =
            (row.get(place.attempt), row.get(place.accepted_at))
        else {
            return Ok(false);
        };
        let texts =
            [place.alert_id, place.content_hash, place.priority].map(|column| message.text(column));
        let ([Some(alert_id), Some(content_hash), Some(priority)], Some(key)) =
            (texts, message.delivery_key())
        else {
            return Ok(false);
        };
        let mut columns = Columns::new();
        columns.set([
            Column::Uuid(keys::message_key()),
            alert_id,
            message.text(place.user_id).unwrap_or(Column::Null),
            content_hash,
            Column::Jsonb(&channels.methods),
            Column::from(at.into_datum()),
            Column::Uuid(key.into_bytes()),
            Column::Datum(attempt),
            Column::from(segment.into_datum()),
            priority,
            Column::Datum(accepted_at),
        ]);
        self.rows.push(columns);
        let (accepted_at, attempt) = (accepted_at.value() as i64, attempt.value() as i32);
        let names = || Ok(channels.names.clone());
        self.counts.add(accepted_at, at, &channels.methods, names, attempt)?;
        Ok(true)
    }
}

/// Whether a row of the log is all that INSERT would write there.
fn log_is_as_made(here: &Installed, held: &Held) -> bool {
    let types =
        [pg_sys::INT2OID, pg_sys::INT8OID, pg_sys::INT8ARRAYOID, pg_sys::JSONBOID, pg_sys::TEXTOID];
    let partition = here.claim_log[held.slot as usize];
    insert::only_passes_on(here.all_of_claim_log) && insert::is_all_of_insert(partition, &types)
}

/// Writes down which messages are finished.
fn log(here: &Installed, held: &Held, finished: &[i64], ended: Option<&str>) -> Result<(), Error> {
    // SAFETY: these are bigints.
    let finished = unsafe {
        Element::BIGINT.array_datum(finished.iter().map(|id| Some(pg_sys::Datum::from(*id))))
    };
    insert::into(here.claim_log[held.slot as usize], |log| {
        log.put_all(iter::once(Ok([
            (c"slot", held.slot.into_datum()),
            (c"claim_id", held.claim_id.into_datum()),
            (c"finished", Some(finished)),
            (c"ended", ended.into_datum()),
        ])))
    })?;
    Ok(())
}

/// As `_next_segment` does.
fn begin_segment_after(deliveries: usize) {
    // SAFETY: these functions take no argument.
    unsafe {
        let random: Option<f64> = direct_function_call(pg_sys::drandom, &[]);
        if random.is_some_and(|random| random < deliveries as f64 / 65536.0) {
            pg_sys::OidFunctionCall0Coll(
                installed::function(c"_begin_segment"),
                pg_sys::InvalidOid,
            );
        }
    }
}
