//! The text of a libpq connection string, taken apart into keywords and values.
//!
//! No message of this file repeats a value: a password that was not quoted or percent-encoded
//! turns up in any of them.

use super::values::ParamError;

/// One `keyword=value`, in the order written; a later one replaces an earlier one.
pub type Pair = (String, String);

const ENCODE: &str = "a password with any of / ? # @ : % needs percent-encoding";

/// Reads both forms: `postgresql://…` and `host=… user=…`. Blank text gives no pairs.
pub fn split(text: &str) -> Result<Vec<Pair>, ParamError> {
    let text = text.trim();
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => split_uri(rest),
        None if text.contains("://") && !text.contains('=') => {
            Err(ParamError::syntax("a URI starts with postgresql:// or postgres://"))
        }
        None => split_keywords(text),
    }
}

fn split_keywords(text: &str) -> Result<Vec<Pair>, ParamError> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut keyword = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'=').is_none() {
            let nth = pairs.len() + 1;
            return Err(ParamError::syntax(format!(
                "keyword {nth} has no \"=\" after it (a value with spaces needs single quotes)"
            )));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}

        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some(&c) = chars.peek() {
            if !quoted && c.is_whitespace() {
                break;
            }
            chars.next();
            match c {
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                '\\' => value.extend(chars.next()),
                _ => value.push(c),
            }
        }
        if !closed {
            return Err(ParamError::syntax(format!("the quoted value of {keyword} has no end")));
        }
        pairs.push((keyword, value));
    }
}

fn split_uri(rest: &str) -> Result<Vec<Pair>, ParamError> {
    let mut pairs = Vec::new();
    let mut put = |keyword: &str, value: &str| -> Result<(), ParamError> {
        if !value.is_empty() {
            pairs.push((keyword.to_owned(), decode(value)?));
        }
        Ok(())
    };

    // As libpq: the first of '@' and '/' decides whether there is a user part.
    let mut rest = rest;
    if let Some(at) = rest.find(['@', '/']).filter(|&at| rest[at..].starts_with('@')) {
        let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
        put("user", user)?;
        put("password", password)?;
        rest = &rest[at + 1..];
    }

    let (hosts, ports, after) = split_hosts(rest)?;
    put("host", &hosts)?;
    put("port", &ports)?;

    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    put("dbname", path.strip_prefix('/').unwrap_or(path))?;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (keyword, value) = option
            .split_once('=')
            .filter(|(_, value)| !value.contains('='))
            .ok_or_else(|| ParamError::syntax("each part after \"?\" must be keyword=value"))?;
        match (decode(keyword)?, decode(value)?) {
            // What JDBC writes, which libpq takes too.
            (keyword, value) if keyword == "ssl" && value == "true" => {
                pairs.push(("sslmode".to_owned(), "require".to_owned()));
            }
            pair => pairs.push(pair),
        }
    }
    Ok(pairs)
}

/// The host list of a URI: comma-joined hosts, comma-joined ports, what follows.
fn split_hosts(text: &str) -> Result<(String, String, &str), ParamError> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    let mut rest = text;
    loop {
        let host;
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner
                .find(']')
                .ok_or_else(|| ParamError::syntax("an IPv6 address has no closing \"]\""))?;
            host = &inner[..end];
            rest = &inner[end + 1..];
            if host.is_empty() || !(rest.is_empty() || rest.starts_with([':', '/', '?', ','])) {
                return Err(ParamError::syntax("an IPv6 address is written [address]:port"));
            }
        } else {
            let end = rest.find([':', '/', '?', ',']).unwrap_or(rest.len());
            host = &rest[..end];
            rest = &rest[end..];
        }
        if host.contains(['@', '#']) {
            return Err(ParamError::syntax(format!("a host name is not valid; {ENCODE}")));
        }
        hosts.push_str(host);
        if let Some(after) = rest.strip_prefix(':') {
            let end = after.find(['/', '?', ',']).unwrap_or(after.len());
            let port = &after[..end];
            if !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ParamError::syntax(format!("a port is not a number; {ENCODE}")));
            }
            ports.push_str(port);
            rest = &after[end..];
        }
        match rest.strip_prefix(',') {
            Some(after) => {
                rest = after;
                hosts.push(',');
                ports.push(',');
            }
            None => return Ok((hosts, ports, rest)),
        }
    }
}

fn decode(text: &str) -> Result<String, ParamError> {
    let bad = || ParamError::syntax(format!("a % is not followed by two hex digits; {ENCODE}"));
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or_else(bad)?;
        match u8::try_from(high * 16 + low) {
            Ok(0) | Err(_) => return Err(ParamError::syntax("%00 is not allowed")),
            Ok(byte) => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| ParamError::syntax("a percent-encoded value is not UTF-8"))
}
