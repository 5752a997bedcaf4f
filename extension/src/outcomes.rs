//! What a report says of each message: the outcomes of its channels and recipients, put together.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{excerpt, Error};
use crate::json::{describe, read, Flat, FlatObject};

/// An outcome, but for what is only written down: error, error_class and host.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    delivery_key: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recipient_id: Option<&'a RawValue>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow)]
    permanent: Option<&'a RawValue>,
    #[serde(borrow)]
    retry_after_s: Option<&'a RawValue>,
    #[serde(borrow)]
    duration_ms: Option<&'a RawValue>,
}

/// What is told of one message. A channel comes once for each of its recipients.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub delivery_key: Uuid,
    /// Retries of two letters of one alert have the same delivery key; where an outcome names its message, it is of that one alone.
    pub message_id: Option<i64>,
    pub delivered: Vec<String>,
    pub missed: Vec<String>,
}

/// Reads outcomes, and those that were kept of earlier reports, given as texts of jsonbs; one element for each message, in the
/// order in which they are first told of.
pub fn told(outcomes: Option<&str>, earlier: &str) -> Result<Vec<Told>, Error> {
    let mut outcomes = all(outcomes.unwrap_or("null"))?;
    outcomes.append(&mut all(earlier)?);
    let mut messages = Messages::of_up_to(outcomes.len());
    for outcome in &outcomes {
        let (key, channel, delivered) = complete(outcome)?;
        messages.tell(key, value("message_id", outcome.message_id)?, channel, delivered);
    }
    Ok(messages.told)
}

/// The same of outcomes that say nothing but what was delivered, as nearly all do. None: read them as any others.
pub fn told_delivered(outcomes: &[FlatObject]) -> Option<Vec<Told>> {
    let mut messages = Messages::of_up_to(outcomes.len());
    for outcome in delivered(outcomes)? {
        messages.tell(outcome.delivery_key, outcome.message_id, &outcome.channel, true);
    }
    Some(messages.told)
}

/// Each of such outcomes.
pub fn delivered<'a>(outcomes: &[FlatObject<'a>]) -> Option<Vec<Delivered<'a>>> {
    outcomes.iter().map(one_delivered).collect()
}

fn one_delivered<'a>(outcome: &FlatObject<'a>) -> Option<Delivered<'a>> {
    let (mut delivery_key, mut message_id, mut channel, mut delivered) = (None, None, None, false);
    for entry in outcome {
        match entry {
            (b"delivery_key", Flat::Text(key)) => delivery_key = Some(key.parse().ok()?),
            (b"message_id", Flat::Integer(id)) => message_id = Some(*id),
            (b"channel", Flat::Text(name)) => channel = Some(Cow::Borrowed(*name)),
            (b"outcome", Flat::Text("delivered")) => delivered = true,
            (b"host", Flat::Text(_)) => {}
            _ => return None,
        }
    }
    let of = |channel| Some(Delivered { delivery_key: delivery_key?, message_id, channel });
    channel.filter(|_| delivered).and_then(of)
}

struct Messages {
    told: Vec<Told>,
    places: HashMap<(Uuid, Option<i64>), usize>,
}

impl Messages {
    fn of_up_to(count: usize) -> Self {
        Self { told: Vec::with_capacity(count), places: HashMap::with_capacity(count) }
    }

    fn tell(
        &mut self,
        delivery_key: Uuid,
        message_id: Option<i64>,
        channel: &str,
        delivered: bool,
    ) {
        let place = *self.places.entry((delivery_key, message_id)).or_insert(self.told.len());
        if place == self.told.len() {
            let (delivered, missed) = (vec![], vec![]);
            self.told.push(Told { delivery_key, message_id, delivered, missed });
        }
        let message = &mut self.told[place];
        let channels = if delivered { &mut message.delivered } else { &mut message.missed };
        channels.push(channel.to_owned());
    }
}

/// Of what is told, messages of which one channel was told of, as delivered: in most reports that is all, and such a message has
/// mostly no other channel.
#[derive(Debug, Default, PartialEq)]
pub struct Whole {
    pub messages: Vec<Delivered<'static>>,
    /// Where to look for them; without names behind all that was reported before, which is where a worker that reports in order is.
    pub first_id: Option<i64>,
    pub last_id: Option<i64>,
    /// Whether nothing else was told.
    pub all: bool,
}

#[derive(Debug, PartialEq)]
pub struct Delivered<'a> {
    pub delivery_key: Uuid,
    /// None where the outcomes do not name their messages: all do, or none.
    pub message_id: Option<i64>,
    pub channel: Cow<'a, str>,
}

/// `finished`: messages that were reported before.
pub fn whole(told: Vec<Told>, finished: &[i64]) -> Whole {
    let count = told.len();
    let named = told.iter().filter(|message| message.message_id.is_some()).count();
    if named != 0 && named != count {
        return Whole::default();
    }
    let mut finished_ids = finished.to_vec();
    finished_ids.sort_unstable(); // they mostly are in order
    let mut whole = Whole::default();
    for mut message in told {
        message.delivered.dedup();
        let finished = message.message_id.is_some_and(|id| finished_ids.binary_search(&id).is_ok());
        if let ([_], [], false) = (&*message.delivered, &*message.missed, finished) {
            let Told { delivery_key, message_id, delivered, .. } = message;
            let of = |channel| Delivered { delivery_key, message_id, channel: Cow::Owned(channel) };
            whole.messages.extend(delivered.into_iter().map(of));
        }
    }
    let ids = || whole.messages.iter().filter_map(|message| message.message_id);
    whole.last_id = ids().max();
    whole.first_id = match named {
        0 => finished.iter().max().map(|id| id + 1),
        _ => ids().min(),
    };
    whole.all = whole.messages.len() == count;
    whole
}

/// The ids among which messages are: a worker that does not name them reports in order. None where one of them was reported before, or only
/// some are named.
pub fn ids(told: &[Delivered], finished: &[i64]) -> Option<RangeInclusive<i64>> {
    let named: Vec<i64> = told.iter().filter_map(|message| message.message_id).collect();
    let reported_to = finished.iter().copied().max().unwrap_or(i64::MIN);
    if named.is_empty() {
        return Some(reported_to.saturating_add(1)..=i64::MAX);
    }
    let (first, last) = (*named.iter().min()?, *named.iter().max()?);
    let is_new = first > reported_to || {
        let finished: HashSet<i64> = finished.iter().copied().collect();
        named.iter().all(|id| !finished.contains(id))
    };
    (is_new && named.len() == told.len()).then_some(first..=last)
}

/// Which channel was told of, of each of the messages. They are mostly asked for in the order in which they were told of.
#[derive(Debug, Default)]
pub struct ChannelsTold<'a> {
    messages: Vec<Delivered<'a>>,
    /// Made when one is asked for out of order.
    places: Option<HashMap<(Uuid, Option<i64>), usize>>,
    next: usize,
}

impl Whole {
    /// For a look at each message of a claim: a text that `ChannelsTold` reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.messages.len() * 40);
        for message in &self.messages {
            bytes.extend(message.delivery_key.as_bytes());
            bytes.push(message.message_id.is_some().into());
            bytes.extend(message.message_id.unwrap_or_default().to_ne_bytes());
            bytes.extend((message.channel.len() as u32).to_ne_bytes());
            bytes.extend(message.channel.as_bytes());
        }
        bytes
    }
}

impl ChannelsTold<'static> {
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut messages = Vec::with_capacity(bytes.len() / 32);
        while let Some((key, rest)) = bytes.split_first_chunk() {
            let Some(([named], rest)) = rest.split_first_chunk() else { break };
            let Some((id, rest)) = rest.split_first_chunk() else { break };
            let Some((length, rest)) = rest.split_first_chunk() else { break };
            let length = u32::from_ne_bytes(*length) as usize;
            let Some((channel, rest)) = rest.split_at_checked(length) else { break };
            messages.push(Delivered {
                delivery_key: Uuid::from_bytes(*key),
                message_id: (*named != 0).then(|| i64::from_ne_bytes(*id)),
                channel: Cow::Owned(String::from_utf8_lossy(channel).into_owned()),
            });
            bytes = rest;
        }
        Self::new(messages)
    }
}

impl<'a> ChannelsTold<'a> {
    pub fn new(messages: Vec<Delivered<'a>>) -> Self {
        Self { messages, ..Self::default() }
    }

    pub fn of(&mut self, delivery_key: Uuid, message_id: i64) -> Option<&str> {
        let place = self.find(delivery_key, message_id)?;
        Some(self.channel(place))
    }

    /// The place of the message among those that were told of.
    pub fn find(&mut self, delivery_key: Uuid, message_id: i64) -> Option<usize> {
        let is_it = |message: &Delivered| {
            message.delivery_key == delivery_key
                && message.message_id.is_none_or(|id| id == message_id)
        };
        let place = match self.messages.get(self.next) {
            Some(message) if is_it(message) => self.next,
            _ => self.place(delivery_key, message_id)?,
        };
        self.next = place + 1;
        Some(place)
    }

    pub fn channel(&self, place: usize) -> &str {
        &self.messages[place].channel
    }

    fn place(&mut self, delivery_key: Uuid, message_id: i64) -> Option<usize> {
        let places = self.places.get_or_insert_with(|| {
            let messages = self.messages.iter().enumerate();
            messages.map(|(place, m)| ((m.delivery_key, m.message_id), place)).collect()
        });
        let of = |id| places.get(&(delivery_key, id)).copied();
        of(Some(message_id)).or_else(|| of(None))
    }
}

fn all(outcomes: &str) -> Result<Vec<Outcome<'_>>, Error> {
    if !outcomes.starts_with('[') {
        return Err(Error::OutcomesNotArray { found: describe(outcomes) });
    }
    serde_json::from_str(outcomes).or_else(|_| each(outcomes))
}

/// Reads outcomes one by one, to say which of them is no outcome.
fn each(outcomes: &str) -> Result<Vec<Outcome<'_>>, Error> {
    read::<Vec<&RawValue>>(outcomes)?.into_iter().map(|outcome| one(outcome.get())).collect()
}

fn one(outcome: &str) -> Result<Outcome<'_>, Error> {
    if !outcome.starts_with('{') {
        return Err(Error::OutcomeNotObject { found: describe(outcome) });
    }
    serde_json::from_str(outcome).map_err(|e| Error::OutcomeUnreadable { reason: e.to_string() })
}

/// The message's key, the channel, and whether it was reached.
fn complete<'a>(outcome: &'a Outcome) -> Result<(Uuid, &'a str, bool), Error> {
    let delivered = match outcome.outcome.as_deref() {
        Some("delivered") => Some(true),
        Some("failed" | "deferred") => Some(false),
        _ => None,
    };
    let key = value("delivery_key", outcome.delivery_key)?;
    let retry_after = number("retry_after_s", outcome.retry_after_s)?;
    value::<i64>("recipient_id", outcome.recipient_id)?;
    value::<bool>("permanent", outcome.permanent)?;
    number("duration_ms", outcome.duration_ms)?;
    match (key, outcome.channel.as_deref(), delivered) {
        (Some(key), Some(channel), Some(delivered))
            if retry_after.is_none_or(|seconds| seconds >= 0.0) =>
        {
            Ok((key, channel, delivered))
        }
        (key, channel, _) => Err(Error::OutcomeIncomplete {
            delivery_key: key.map_or("none".into(), |key| key.to_string()),
            channel: channel.map_or("none".into(), excerpt),
        }),
    }
}

/// A value, which may also be given as text.
fn value<T: FromStr>(key: &'static str, json: Option<&RawValue>) -> Result<Option<T>, Error> {
    let Some(json) = json.map(RawValue::get) else { return Ok(None) };
    let text = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(json);
    text.parse().map(Some).map_err(|_| Error::OutcomeValue { key, found: describe(json) })
}

/// A double that Postgres, too, can hold.
fn number(key: &'static str, json: Option<&RawValue>) -> Result<Option<f64>, Error> {
    let number: Option<f64> = value(key, json)?;
    match json.filter(|_| number.is_some_and(f64::is_infinite)) {
        Some(json) => Err(Error::OutcomeValue { key, found: describe(json.get()) }),
        None => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0198c0de-0000-7000-8000-000000000001";

    fn whole_of(outcomes: &str, finished: &[i64]) -> Whole {
        whole(told(Some(outcomes), "[]").unwrap(), finished)
    }

    fn of(fields: &str) -> String {
        format!(r#"{{"delivery_key": "{KEY}", {fields}}}"#)
    }

    #[test]
    fn outcomes_of_a_message_are_put_together() {
        let outcomes = format!(
            "[{}, {}, {}]",
            of(r#""channel": "email", "outcome": "delivered", "recipient_id": 1"#),
            of(
                r#""channel": "email", "outcome": "failed", "recipient_id": "2", "permanent": true"#
            ),
            of(
                r#""channel": "sms", "outcome": "deferred", "retry_after_s": 1.5, "message_id": null"#
            ),
        );
        assert_eq!(
            told(Some(&outcomes), "[]").unwrap(),
            [Told {
                delivery_key: KEY.parse().unwrap(),
                message_id: None,
                delivered: vec!["email".into()],
                missed: vec!["email".into(), "sms".into()],
            }]
        );
    }

    #[test]
    fn outcomes_of_deliveries_alone_are_told_the_same() {
        let flat = |outcome| -> FlatObject<'_> {
            vec![
                (b"channel", Flat::Text("email")),
                (b"outcome", Flat::Text(outcome)),
                (b"message_id", Flat::Integer(7)),
                (b"delivery_key", Flat::Text(KEY)),
            ]
        };
        let json = of(r#""channel": "email", "outcome": "delivered", "message_id": 7"#);
        let told_by_text = told(Some(&format!("[{json}]")), "[]").unwrap();
        assert_eq!(told_delivered(&[flat("delivered")]), Some(told_by_text));
        assert_eq!(told_delivered(&[]), Some(vec![]));
        assert_eq!(told_delivered(&[flat("delivered"), flat("failed")]), None);
        assert_eq!(told_delivered(&[flat("delivered")[..3].to_vec()]), None);
        let other: (&[u8], _) = (b"error", Flat::Text("none"));
        assert_eq!(told_delivered(&[[flat("delivered"), vec![other]].concat()]), None);
    }

    #[test]
    fn messages_are_looked_for_among_their_ids() {
        let told = |ids: &[Option<i64>]| -> Vec<Delivered<'static>> {
            let of = |id: &Option<i64>| Delivered {
                delivery_key: KEY.parse().unwrap(),
                message_id: *id,
                channel: Cow::Borrowed("email"),
            };
            ids.iter().map(of).collect()
        };
        let named = told(&[Some(7), Some(3), Some(5)]);
        assert_eq!(ids(&named, &[]), Some(3..=7));
        assert_eq!(ids(&named, &[2, 1]), Some(3..=7));
        assert_eq!(ids(&named, &[9, 4, 1]), Some(3..=7));
        assert_eq!(ids(&named, &[9, 5]), None);
        assert_eq!(ids(&told(&[Some(7), None]), &[]), None);
        assert_eq!(ids(&told(&[None]), &[4, 9]), Some(10..=i64::MAX));
        assert_eq!(ids(&told(&[None]), &[]), Some(i64::MIN + 1..=i64::MAX));
    }

    #[test]
    fn two_messages_of_one_key_are_kept_apart() {
        let one =
            |id| of(&format!(r#""channel": "email", "outcome": "delivered", "message_id": {id}"#));
        let told = told(Some(&format!("[{}]", one(7))), &format!("[{}]", one(8))).unwrap();
        assert_eq!(told.iter().map(|t| t.message_id).collect::<Vec<_>>(), [Some(7), Some(8)]);
    }

    #[test]
    fn messages_of_one_delivered_channel_are_found() {
        let one = |id: i64, channel: &str, outcome: &str| {
            of(&format!(r#""channel": "{channel}", "outcome": "{outcome}", "message_id": {id}"#))
        };
        let outcomes = format!(
            "[{}, {}, {}, {}, {}, {}]",
            one(7, "email", "delivered"),
            one(7, "email", "delivered"),
            one(8, "email", "delivered"),
            one(8, "sms", "delivered"),
            one(9, "email", "failed"),
            one(5, "email", "delivered"),
        );
        let found = whole_of(&outcomes, &[]);
        let ids = |found: &Whole| found.messages.iter().map(|m| m.message_id).collect::<Vec<_>>();
        assert_eq!((ids(&found).as_slice(), found.all), (&[Some(7), Some(5)][..], false));
        assert_eq!((found.first_id, found.last_id), (Some(5), Some(7)));
        assert!(found.messages.iter().all(|message| message.channel == "email"));
        let found = whole_of(&outcomes, &[5, 7]);
        assert_eq!((ids(&found).as_slice(), found.first_id), (&[][..], None));
    }

    #[test]
    fn messages_without_a_name_are_looked_for_behind_those_reported() {
        let outcomes = format!("[{}]", of(r#""channel": "email", "outcome": "delivered""#));
        let found = whole_of(&outcomes, &[3, 9, 4]);
        assert_eq!((found.first_id, found.last_id, found.all), (Some(10), None, true));
        let mixed = format!(
            "[{}, {}]",
            of(r#""channel": "email", "outcome": "delivered""#),
            of(r#""channel": "email", "outcome": "delivered", "message_id": 7"#)
        );
        assert_eq!(whole_of(&mixed, &[]), Whole::default());
    }

    #[test]
    fn the_messages_of_a_claim_are_held_against_what_was_told() {
        let told = |id: &str| {
            let outcome = of(&format!(r#""channel": "email", "outcome": "delivered"{id}"#));
            whole_of(&format!("[{outcome}]"), &[]).to_bytes()
        };
        let key = KEY.parse().unwrap();
        let bytes = told(r#", "message_id": 7"#);
        let mut named = ChannelsTold::read(&bytes);
        assert_eq!(named.of(key, 7), Some("email"));
        assert_eq!(named.of(key, 7), Some("email"));
        assert_eq!(named.of(key, 8), None);
        assert_eq!(named.of(Uuid::nil(), 7), None);
        assert_eq!(ChannelsTold::read(&told("")).of(key, 8), Some("email"));
        assert_eq!(ChannelsTold::read(&[]).of(key, 8), None);
    }

    #[test]
    fn what_is_no_outcome_is_named() {
        let error = |outcomes: &str| told(Some(outcomes), "[]").unwrap_err().to_string();
        assert_eq!(told(None, "[]").unwrap_err().to_string(), "outcomes must be a JSON array");
        assert_eq!(error("{}"), "outcomes must be a JSON array");
        assert_eq!(error("[7]"), "an outcome must be a JSON object");
        assert_eq!(error("[{}]"), "an outcome is not complete");
        assert_eq!(error(r#"[{"channel": 7}]"#), "an outcome could not be read");
        for (fields, expected) in [
            (r#""channel": "email", "outcome": "lost""#, "an outcome is not complete"),
            (r#""channel": null, "outcome": "delivered""#, "an outcome is not complete"),
            (
                r#""channel": "a", "outcome": "failed", "retry_after_s": -1"#,
                "an outcome is not complete",
            ),
            (
                r#""channel": "a", "outcome": "failed", "retry_after_s": "NaN""#,
                "an outcome is not complete",
            ),
            (r#""recipient_id": "first""#, "an outcome's recipient_id is not of its type"),
            (r#""message_id": 99999999999999999999"#, "an outcome is not complete"),
            (r#""permanent": "perhaps""#, "an outcome's permanent is not of its type"),
            (
                r#""channel": "a", "outcome": "failed", "retry_after_s": "Infinity""#,
                "an outcome's retry_after_s is not of its type",
            ),
            (r#""duration_ms": 1e999"#, "an outcome's duration_ms is not of its type"),
            (r#""duration_ms": []"#, "an outcome's duration_ms is not of its type"),
        ] {
            assert_eq!(error(&format!("[{}]", of(fields))), expected, "{fields}");
        }
    }
}
