//! The lengths that Slack takes: https://docs.slack.dev/reference/block-kit/blocks. What is longer would be refused as a whole.

use serde_json::Value;

use crate::templates::cut;

const TEXT: usize = 4_000;
const BLOCKS: usize = 50;
const HEADER: usize = 150;
const SECTION: usize = 3_000;
const FIELD: usize = 2_000;
const FIELDS: usize = 10;
const ELEMENTS: usize = 10;
/// "&amp" and the "…" of what is cut.
const LONGEST_HALF: usize = "&amp…".len() + 1;

/// Cuts what is too long, whoever's template it is from.
pub fn apply(body: &mut Value) {
    limit(body.get_mut("text"), TEXT);
    let Some(Value::Array(blocks)) = body.get_mut("blocks") else { return };
    blocks.truncate(BLOCKS);
    for block in blocks {
        let size = if block["type"] == "header" { HEADER } else { SECTION };
        limit(block.pointer_mut("/text/text"), size);
        for (key, count) in [("fields", FIELDS), ("elements", ELEMENTS)] {
            let Some(Value::Array(parts)) = block.get_mut(key) else { continue };
            parts.truncate(count);
            for part in parts {
                limit(part.get_mut("text"), FIELD);
            }
        }
    }
}

fn limit(text: Option<&mut Value>, units: usize) {
    if let Some(Value::String(text)) = text {
        let mut kept = cut(text, units, None);
        // Half of an "&amp;" would be shown as it is.
        if kept != *text {
            let half = |at: &usize| !kept[*at..].contains(';') && kept.len() - at < LONGEST_HALF;
            if let Some(entity) = kept.rfind('&').filter(half) {
                kept.truncate(entity);
                kept.push('…');
            }
        }
        *text = kept;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_outside_of_entities() {
        let mut body = json!({
            "text": format!("R&D {}", "x".repeat(5000)),
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": format!("{}&amp;", "x".repeat(146))}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "x".repeat(4000)}, "fields": vec![json!({"text": "y".repeat(3000)}); 12]},
            ],
        });
        body["blocks"].as_array_mut().unwrap().extend(vec![json!({"type": "divider"}); 60]);
        apply(&mut body);
        assert_eq!(body["text"].as_str().unwrap().chars().count(), 4000);
        assert_eq!(body["blocks"].as_array().unwrap().len(), 50);
        assert_eq!(body["blocks"][0]["text"]["text"], format!("{}…", "x".repeat(146)));
        assert_eq!(body["blocks"][1]["text"]["text"].as_str().unwrap().chars().count(), 3000);
        assert_eq!(body["blocks"][1]["fields"].as_array().unwrap().len(), 10);
        assert_eq!(body["blocks"][1]["fields"][9]["text"].as_str().unwrap().chars().count(), 2000);
    }
}
