//! SQL function `deliver_alerts` of `sql/32_deliver_bulk.sql`: plain alerts are decided and written here, without a plan; a call with any
//! other goes on in SQL.

use std::collections::BTreeSet;

use pgrx::datum::{Array, FromDatum, IntoDatum, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{fcinfo, pg_extern, pg_sys};

use crate::admission::{self, Applicant, Verdict};
use crate::alert;
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::arrays::{self, Element};
use crate::columns::Column;
use crate::day;
use crate::dedup::{self, Reservation};
use crate::error::Error;
use crate::fire::{Asked, Fired, Prepared};
use crate::inbox;
use crate::installed::{self, Installed};
use crate::internal::{_count_by, now_micros};
use crate::jsonb::{self, Jsonb};
use crate::outbox;
use crate::owner;
use crate::policy;
use crate::rows::Rows;
use crate::sequence;
use crate::statement::as_of_now;
use crate::subtransaction;
use crate::wake;

/// Declared in `sql/32_deliver_bulk.sql`, with an array of jsonb as its argument.
#[pg_extern(sql = false)]
fn deliver_alerts(fcinfo: pg_sys::FunctionCallInfo) -> Result<Rows<3>, ErrorReport> {
    let here = installed::here();
    let rows = owner::acting(here.owner, || {
        let Some(call) = Call::prepare(fcinfo, &here) else {
            // SAFETY: it is declared alike.
            return Ok(unsafe {
                Rows::of(installed::function(c"_deliver_all_in_full"), fcinfo, &[])
            });
        };
        let verdicts = call.decide(&here)?;
        call.write(&verdicts, &here)?;
        call.count(&verdicts, &here);
        Ok::<_, Error>(call.answer(&verdicts, fcinfo))
    });
    Ok(rows?)
}

/// A call of plain alerts.
struct Call {
    alerts: Vec<Prepared>,
    at: i64,
    day_end: TimestampWithTimeZone,
}

impl Call {
    /// None where an element is not plain, or cannot be read.
    fn prepare(fcinfo: pg_sys::FunctionCallInfo, here: &Installed) -> Option<Self> {
        let elements = elements(fcinfo)?;
        // In another encoding an element may be refused as soon as it is taken.
        if !jsonb::is_utf8_database() || !here.is_as_built() {
            return None;
        }
        let at = now_micros();
        let day = day::utc_day(at)?;
        let mut alerts = Vec::with_capacity(elements.len());
        for element in elements.iter() {
            pgrx::check_for_interrupts!(); // a call may have alerts for seconds
            let element = alert::read_element(element.map(Jsonb::value).transpose().ok()?).ok()?;
            let alert::Element { firing, user_id, message, dedup_window, parent } = element;
            if dedup_window.is_some() {
                return None;
            }
            let user_id = Some(&*user_id);
            let alert =
                Asked { firing, user_id, message: Some(message), dedup_window: None, parent };
            alerts.push(alert.prepare(at, Some(&day), true).ok().filter(|alert| alert.plain)?);
        }
        let some_in_app = alerts.iter().any(|alert| alert.in_app);
        let day_end = TimestampWithTimeZone::try_from(day.end - POSTGRES_EPOCH_MICROS).ok()?;
        (!some_in_app || inbox::is_as_made(here)).then_some(Self { alerts, at, day_end })
    }

    /// Decides, and reserves the keys of what is admitted.
    fn decide(&self, here: &Installed) -> Result<Vec<Verdict>, Error> {
        let at = self.at - POSTGRES_EPOCH_MICROS;
        let content_until = TimestampWithTimeZone::try_from(at + policy::DEDUP_MICROS).ok();
        let applicants: Vec<_> = self
            .alerts
            .iter()
            .map(|alert| Applicant {
                content: Some(alert.content_key),
                places: alert.day_key.as_slice(),
            })
            .collect();
        loop {
            let contents = self.alerts.iter().map(|alert| alert.content_key).collect();
            let days = self.alerts.iter().filter_map(|alert| alert.day_key).collect();
            let look = as_of_now(|| dedup::look(here, contents, days, at))?;
            let verdicts = admission::admit(&applicants, &look.held);
            let reservations: Vec<_> = self
                .alerts
                .iter()
                .zip(&verdicts)
                .filter_map(|(alert, verdict)| match verdict {
                    Verdict::Admitted { content, place } => {
                        let (content, day, owner) = (*content, *place, alert.message_key);
                        Some(Reservation { content, content_until, day, owner })
                    }
                    Verdict::Duplicate | Verdict::Capped => None,
                })
                .collect();
            if reservations.is_empty() {
                return Ok(verdicts);
            }
            // Where another session has won a key since the look, all of it is undone and decided again: whoever waits with keys in
            // hand, for keys that come before them, may wait for ever.
            let reserved = subtransaction::unless_key_is_taken(|| {
                if look.some_expired {
                    free_expired(&reservations, at);
                }
                dedup::reserve_all(here, &reservations, self.day_end)
            })?;
            // SAFETY: reads a number.
            if reserved.is_some() {
                return Ok(verdicts);
            } else if unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 } {
                return Err(Error::ConcurrentInsert);
            }
        }
    }

    /// Writes what comes of those that are admitted, and that others were not.
    fn write(&self, verdicts: &[Verdict], here: &Installed) -> Result<(), Error> {
        let each = || self.alerts.iter().zip(verdicts);
        let admitted =
            || each().filter(|(_, verdict)| is_admitted(verdict)).map(|(alert, _)| alert);
        let suppressed: Vec<_> = each()
            .filter(|(_, verdict)| !is_admitted(verdict))
            .map(|(alert, verdict)| (alert.fired(), status(alert, verdict)))
            .collect();
        if !suppressed.is_empty() {
            suppress(&suppressed);
        }
        if admitted().any(|alert| alert.in_app) {
            let shown = || admitted().filter(|alert| alert.in_app);
            inbox::put(here, shown().map(|alert| alert.fired().notification()))?;
            let users: BTreeSet<String> =
                shown().filter_map(|alert| alert.fired().user()).collect();
            let users = users.iter().map(String::as_str);
            wake::inboxes(here.inboxes_listening_until, users, now_micros());
        }
        let delivered: Vec<_> =
            admitted().filter(|alert| !alert.is_sent).map(Prepared::fired).collect();
        if !delivered.is_empty() {
            note_delivered(&delivered, self.at - POSTGRES_EPOCH_MICROS);
        }
        let sent = admitted().filter(|alert| alert.is_sent);
        if outbox::enqueue(here, sent.map(|alert| Ok(alert.fired().message())))? > 0 {
            wake::drivers(here.drivers_asleep_until, now_micros());
        }
        Ok(())
    }

    fn count(&self, verdicts: &[Verdict], here: &Installed) {
        let answers =
            || self.alerts.iter().zip(verdicts).map(|(alert, verdict)| status(alert, verdict));
        let of = |wanted| answers().filter(|answer| *answer == wanted).count() as i64;
        let (hundreds, tens) = (here.count_queued_hundreds, here.count_queued_tens);
        _count_by(hundreds, tens, here.count_queued, of("queued"));
        for (wanted, counter) in [
            ("delivered", here.count_delivered),
            ("duplicate", here.count_duplicate),
            ("capped", here.count_capped),
        ] {
            for _ in 0..of(wanted) {
                sequence::next_value(counter);
            }
        }
    }

    /// A row for each.
    fn answer(&self, verdicts: &[Verdict], fcinfo: pg_sys::FunctionCallInfo) -> Rows<3> {
        // SAFETY: the function is declared to return a set of so many columns.
        let mut rows = unsafe { Rows::new(fcinfo) };
        for (ordinal, (alert, verdict)) in (1i32..).zip(self.alerts.iter().zip(verdicts)) {
            rows.push([
                ordinal.into_datum().into(),
                Column::Text(status(alert, verdict)),
                Column::uuid(is_admitted(verdict).then_some(alert.message_key)),
            ]);
        }
        rows
    }
}

/// The array that is asked for; None where it is no list of elements.
fn elements<'a>(fcinfo: pg_sys::FunctionCallInfo) -> Option<Array<'a, Jsonb<'a>>> {
    // SAFETY: the argument is an array, which is there as long as the call.
    unsafe {
        let array = fcinfo::pg_getarg_datum(fcinfo, 0)?;
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        let is_list = (*array).ndim == 1;
        is_list.then(|| Array::from_datum(array.into(), false)).flatten()
    }
}

fn is_admitted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admitted { .. })
}

fn status(alert: &Prepared, verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Admitted { .. } if alert.is_sent => "queued",
        Verdict::Admitted { .. } => "delivered",
        Verdict::Duplicate => "duplicate",
        Verdict::Capped => "capped",
    }
}

fn free_expired(wanted: &[Reservation], at: i64) {
    let days = arrays::uuids(wanted.iter().map(|wanted| wanted.day.as_ref()));
    let contents = arrays::uuids(wanted.iter().map(|wanted| wanted.content.as_ref()));
    let function = installed::function(c"_free_expired");
    let none = pg_sys::InvalidOid;
    // SAFETY: these are its arguments.
    unsafe { pg_sys::OidFunctionCall3Coll(function, none, days, contents, at.into()) };
}

/// An array of a column of these.
fn column<'a>(
    element: Element,
    alerts: impl Iterator<Item = &'a Fired>,
    value: fn(&Fired) -> Option<pg_sys::Datum>,
) -> pg_sys::Datum {
    // SAFETY: callers name the type of the column.
    unsafe { element.array_datum(alerts.map(value)) }
}

fn suppress(alerts: &[(Fired, &'static str)]) {
    let texts = |value| column(Element::TEXT, alerts.iter().map(|(alert, _)| alert), value);
    let reasons = alerts.iter().map(|(_, reason)| reason.into_datum());
    let (function, none) = (installed::function(c"_suppress"), pg_sys::InvalidOid);
    // SAFETY: these are its arguments.
    unsafe {
        pg_sys::OidFunctionCall4Coll(
            function,
            none,
            texts(|alert| alert.alert_id),
            texts(|alert| alert.user_id),
            Element::TEXT.array_datum(reasons),
            texts(|alert| alert.content_hash),
        );
    }
}

fn note_delivered(alerts: &[Fired], at: i64) {
    let texts = |value| column(Element::TEXT, alerts.iter(), value);
    let (function, none) = (installed::function(c"_note_delivered"), pg_sys::InvalidOid);
    // SAFETY: these are its arguments.
    unsafe {
        pg_sys::OidFunctionCall6Coll(
            function,
            none,
            texts(|alert| alert.alert_id),
            texts(|alert| alert.user_id),
            texts(|alert| alert.content_hash),
            column(Element::UUID, alerts.iter(), |alert| alert.message_key),
            texts(|alert| alert.priority),
            at.into(),
        );
    }
}
