//! Values that TOML has no type for.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

fn parse_duration<E: Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text).map_err(|e| {
        E::custom(format!("\"{text}\" is no duration such as \"500ms\" or \"30s\": {e}"))
    })
}

pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?)
}

pub fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_duration(text)).collect()
}

/// "" for none.
pub fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format!("\"{text}\" is no address and port such as \"127.0.0.1:9189\""))
    })
}

/// Of answers that refuse a request. From the environment they come as text.
pub fn statuses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    let values = Vec::<toml::Value>::deserialize(deserializer)?;
    let status = |value: &toml::Value| {
        let number = value.as_integer().or_else(|| value.as_str()?.parse().ok());
        number.and_then(|number| u16::try_from(number).ok()).filter(|it| (400..500).contains(it))
    };
    values
        .iter()
        .map(|value| {
            let bad = || D::Error::custom(format!("{value} is no status from 400 to 499"));
            status(value).ok_or_else(bad)
        })
        .collect()
}

/// Addresses and networks.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map_err(|_| {
            D::Error::custom(format!(
                "\"{text}\" is no address or network such as \"10.0.0.5\" or \"10.1.0.0/16\""
            ))
        })
    };
    texts.iter().map(network).collect()
}

/// "30/m": so many at once, and as many in each such time. "" for no limit.
pub fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quota>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let quota = text.split_once('/').and_then(|(count, time)| {
        let count: NonZeroU32 = count.trim().parse().ok()?;
        match time.trim() {
            "s" => Some(Quota::per_second(count)),
            "m" => Some(Quota::per_minute(count)),
            "h" => Some(Quota::per_hour(count)),
            _ => None,
        }
    });
    let bad = || {
        D::Error::custom(format!("\"{text}\" is no rate such as \"1/s\", \"30/m\" or \"100/h\""))
    };
    quota.map(Some).ok_or_else(bad)
}
