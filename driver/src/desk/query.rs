//! What a page is asked for: fields of a query or a form, and the filter that SQL functions take.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

/// Keys of a filter, as `list_dead_letters()` and its like take it. What they may hold is theirs to check.
const FILTER_KEYS: &[&str] = &[
    "state",
    "channel",
    "channels",
    "error_class",
    GROUP,
    "host",
    "alert_id",
    "user_id",
    "delivery_key",
    "older_than",
    "newer_than",
];

/// Keys of `list_actions()`.
pub const ACTION_KEYS: &[&str] = &["operator", "action", "dlq_id", "older_than", "newer_than"];

const GROUP: &str = "error_group";

/// Pairs in the order in which they came; one without a value counts as not there.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn parse(text: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(text)
                .into_owned()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Those whose name begins so, with the rest of the name.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }

    pub fn filter(&self) -> Filter {
        self.filter_of(FILTER_KEYS)
    }

    pub fn filter_of(&self, keys: &[&str]) -> Filter {
        let known = |(key, value): &(String, String)| {
            // Nobody types the name of a group, and it may end with a space.
            let value = if key == GROUP { value } else { value.trim() };
            (keys.contains(&key.as_str()) && !value.is_empty())
                .then(|| (key.clone(), value.to_owned()))
        };
        Filter { pairs: self.0.iter().filter_map(known).collect() }
    }

    /// The cursor of the last row that was seen.
    pub fn after(&self) -> Option<Value> {
        serde_json::from_str(self.get("after")?).ok()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Filter {
    /// For the hidden fields of a form.
    pub pairs: Vec<(String, String)>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Several values of one key become a list; `ids` are one always.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        for (key, value) in &self.pairs {
            let value = Value::from(value.as_str());
            match object.get_mut(key) {
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
                None if key == "ids" => drop(object.insert(key.clone(), vec![value].into())),
                None => drop(object.insert(key.clone(), value)),
            }
        }
        Value::Object(object)
    }

    /// A link to a page with this filter and further pairs.
    pub fn link(&self, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.pairs.iter().map(|(key, value)| (key, value)));
        query.extend_pairs(more.iter().filter(|(_, value)| !value.is_empty()));
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query if path.contains('?') => format!("{path}&{query}"),
            query => format!("{path}?{query}"),
        }
    }

    /// The same filter for one state, or for all of them.
    pub fn of_state(&self, state: &str) -> Self {
        let mut pairs: Vec<_> =
            self.pairs.iter().filter(|(key, _)| key != "state").cloned().collect();
        if !state.is_empty() {
            pairs.insert(0, ("state".into(), state.into()));
        }
        Self { pairs }
    }
}

/// The time that the charts of the overview show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Period {
    Hour,
    Day,
    Week,
}

impl Period {
    pub const ALL: [Period; 3] = [Period::Hour, Period::Day, Period::Week];

    pub fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|period| Some(period.name()) == text).unwrap_or(Self::Hour)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    pub fn interval(self) -> &'static str {
        match self {
            Self::Hour => "1 hour",
            Self::Day => "1 day",
            Self::Week => "7 days",
        }
    }

    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_filter_is_what_is_known_and_not_empty() {
        let fields =
            Fields::parse(b"state=exhausted&state=permanent&channel=&user_id=+ann+&page=2");
        let filter = fields.filter();
        assert_eq!(filter.json(), json!({"state": ["exhausted", "permanent"], "user_id": "ann"}));
        assert_eq!(
            filter.link("/letters", &[("sort", "oldest"), ("after", "")]),
            "/letters?state=exhausted&state=permanent&user_id=ann&sort=oldest"
        );
        assert_eq!(
            filter.of_state("waiting").json(),
            json!({"state": "waiting", "user_id": "ann"})
        );
        let group = Fields::parse(b"error_group=503:+&host=+db1+").filter();
        assert_eq!(group.json(), json!({"error_group": "503: ", "host": "db1"}));
        assert_eq!(Filter::default().link("/letters", &[]), "/letters");
        assert_eq!(Filter::default().link("/letters?a=1", &[("n", "2")]), "/letters?a=1&n=2");
    }

    #[test]
    fn a_cursor_that_is_none_is_not_used() {
        assert_eq!(Fields::parse(b"after=%7B%22id%22%3A1%7D").after(), Some(json!({"id": 1})));
        assert_eq!(Fields::parse(b"after=x").after(), None);
    }
}
