//! Tables for people, lines of JSON for programs. Texts of strangers are in both: nothing of them moves a terminal.

use std::fmt;

use comfy_table::{presets, ContentArrangement};
use serde_json::Value;

pub struct Table(comfy_table::Table);

impl Table {
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = Self::bare();
        table.0.set_header(headings);
        table
    }

    /// Without headings.
    pub fn bare() -> Self {
        let mut table = comfy_table::Table::new();
        // Lines as long as they need be: an id that is broken cannot be copied.
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        Self(table)
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        Ok(())
    }
}

/// A value as a person reads it, on one line.
pub fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => time(text).unwrap_or_else(|| text.clone()),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    plain(&text)
}

/// A time of the database to the second.
fn time(text: &str) -> Option<String> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.format("%Y-%m-%d %H:%M:%S%:z").to_string())
}

/// Without what a terminal would obey: control characters, and those that turn the direction of writing.
fn plain(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            c => (!c.is_control()).then_some(c),
        })
        .collect()
}

/// JSON on one line, with every control character escaped, also those that JSON lets stand.
pub fn json_line(json: impl fmt::Display) -> String {
    let mut line = String::new();
    for c in json.to_string().chars() {
        if c.is_control() {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_moves_the_terminal() {
        let text = "a\u{1b}[2Jb\u{9b}1mc\u{202e}d\ne";
        assert_eq!(cell(&json!(text)), "a[2Jb1mcd e");
        let line = json_line(json!(text));
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(json!(text)));
    }
}
