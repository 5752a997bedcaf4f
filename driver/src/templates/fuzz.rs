//! Templates and alerts at random: whatever a template says, and whatever an alert holds, something is sent.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{json, value::RawValue, Map, Value as Json};

use super::*;
use crate::message::tests::message;

/// Many times what the fuel lasts in a debug build.
const LONGEST: Duration = Duration::from_secs(20);

const NAMES: &[&str] = &[
    "message",
    "alert",
    "title",
    "user_id",
    "attempt",
    "priority",
    "address",
    "secret",
    "alert_name",
    "enqueued_at",
    "x",
    "loop",
    "range",
    "dict",
    "namespace",
    "self",
    "super",
    "debug",
    "caller",
];
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "chain",
    "count",
    "cut",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "mrkdwn",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
    "shout",
];
const TESTS: &[&str] = &[
    "defined",
    "none",
    "odd",
    "divisibleby(0)",
    "string",
    "in [1]",
    "sameas(x)",
    "mapping",
    "startingwith('a')",
    "escaped",
    "nothing",
];
const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "//", "%", "**", "~", "==", "<", ">=", " and ", " or ", " in ", " not in ",
];
const LITERALS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "3.5",
    "1e308",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "340282366920938463463374607431768211455",
    "1000000000000",
    "none",
    "true",
    "''",
    "'a'",
    "\"\\u0000\"",
    "'%s %999999999d'",
    "'%'",
    "'🔥ü'",
    "'\\n'",
    "[]",
    "{}",
    "[1, 'a', none]",
    "{'a': {'b': [1]}}",
    "('a', 2)",
    "'<&>'",
];

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    prop_oneof![one_of(NAMES), one_of(LITERALS)].prop_recursive(4, 24, 3, |inner| {
        let arguments = prop::collection::vec(inner.clone(), 0..3).prop_map(|all| all.join(", "));
        prop_oneof![
            (inner.clone(), one_of(FILTERS)).prop_map(|(e, f)| format!("({e})|{f}")),
            (inner.clone(), one_of(FILTERS), arguments.clone())
                .prop_map(|(e, f, a)| format!("({e})|{f}({a})")),
            (inner.clone(), one_of(OPERATORS), inner.clone())
                .prop_map(|(a, o, b)| format!("({a}){o}({b})")),
            (inner.clone(), one_of(TESTS)).prop_map(|(e, t)| format!("({e} is {t})")),
            (inner.clone(), "[a-z]{1,3}").prop_map(|(e, n)| format!("({e}).{n}")),
            (inner.clone(), inner.clone()).prop_map(|(e, i)| format!("({e})[{i}]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(e, a, b)| format!("({e})[{a}:{b}]")),
            (inner.clone(), arguments).prop_map(|(e, a)| format!("({e})({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
        ]
    })
}

fn source() -> impl Strategy<Value = String> {
    let text = prop_oneof![Just("\r\n".to_owned()), Just("\"}<".to_owned()), "\\PC{0,8}"];
    let leaf = prop_oneof![
        2 => text,
        6 => expression().prop_map(|e| format!("{{{{ {e} }}}}")),
        1 => expression().prop_map(|e| format!("{{% set x = {e} %}}")),
        1 => expression().prop_map(|e| format!("{{% include {e} %}}")),
        1 => select(&["{% include 'email.txt' %}", "{% extends 'email.txt' %}", "{% import 'sms.txt' as x %}", "{# # #}", "{%- endif -%}", "{{", "%}"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let body = prop::collection::vec(inner, 0..4).prop_map(|all| all.concat());
        prop_oneof![
            body.clone(),
            (expression(), body.clone(), body.clone())
                .prop_map(|(e, a, b)| format!("{{% if {e} %}}{a}{{% else %}}{b}{{% endif %}}")),
            (expression(), body.clone())
                .prop_map(|(e, b)| format!("{{% for x in {e} %}}{b}{{% endfor %}}")),
            (expression(), body.clone()).prop_map(|(e, b)| format!(
                "{{% for x in {e} recursive %}}{b}{{{{ loop(x) }}}}{{% endfor %}}"
            )),
            body.clone().prop_map(|b| format!(
                "{{% macro x(y) %}}{b}{{{{ x(y) }}}}{{% endmacro %}}{{{{ x(1) }}}}"
            )),
            (one_of(FILTERS), body.clone())
                .prop_map(|(f, b)| format!("{{% filter {f} %}}{b}{{% endfilter %}}")),
            (select(&["true", "false", "'html'", "'json'", "'none'", "x"][..]), body.clone())
                .prop_map(|(e, b)| format!("{{% autoescape {e} %}}{b}{{% endautoescape %}}")),
            (expression(), body.clone())
                .prop_map(|(e, b)| format!("{{% with x = {e} %}}{b}{{% endwith %}}")),
            body.clone().prop_map(|b| format!("{{% raw %}}{b}{{% endraw %}}")),
            body.prop_map(|b| format!("{{% block x %}}{b}{{{{ self.x() }}}}{{% endblock %}}")),
        ]
    })
}

/// A source as it came, or with a part of it lost or doubled.
fn damaged(source: String, at: prop::sample::Index, length: usize, how: u8) -> String {
    let characters: Vec<char> = source.chars().collect();
    if characters.is_empty() || how > 2 {
        return source;
    }
    let from = at.index(characters.len());
    let to = (from + length).min(characters.len());
    let (before, part, after) = (&characters[..from], &characters[from..to], &characters[to..]);
    let parts: &[&[char]] = match how {
        0 => &[before, after],
        1 => &[before, part, part, after],
        _ => &[before],
    };
    parts.iter().flat_map(|part| part.iter()).collect()
}

fn alert() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from)
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        number,
        any::<String>().prop_map(Json::from)
    ];
    leaf.prop_recursive(6, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((prop_oneof!["[a-c]", ".{0,5}"], inner), 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn with_alert(alert: &Json, text: &str) -> Value {
    let mut message = message();
    message.alert_data = RawValue::from_string(json!({"id": 1, "a": alert}).to_string()).unwrap();
    message.text = text.to_owned();
    context::of(&message, "https://example.com/hook", "")
}

/// Ends in time, within its size, and with something to send; JSON is JSON.
fn check(templates: &Templates, name: &str, context: &Value) {
    let began = Instant::now();
    let strict = templates.strict().render(name, context);
    let text = templates.forgiving().render(name, context).unwrap();
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
    if let Ok(strict) = strict {
        assert!(strict.len() <= MAX_RENDERED_BYTES);
    }
    if name.ends_with(".json") {
        serde_json::from_str::<IgnoredAny>(&text).unwrap();
    }
}

/// As many as a run of all tests has time for. A longer run: PROPTEST_CASES=100000 cargo test -p pgalert-driver fuzz
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(3_000, |text| text.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn whatever_a_template_says_something_is_sent(
        source in source(), at in any::<prop::sample::Index>(), length in 0usize..20, how in 0u8..8,
        alert in alert(), text in any::<String>(), name in select(&["email.subject.txt", "email.html", "sms.txt", "slack.json", "teams.json"][..]),
    ) {
        let source = damaged(source, at, length, how);
        let mut own = environment();
        own.set_fuel(Some(FUEL));
        if add(&mut own, name, source, name).is_ok() {
            BUILT_IN.with(|builtin| {
                check(&Templates { own, builtin: builtin.clone() }, name, &with_alert(&alert, &text));
            });
        }
    }
}

thread_local! {
    static BUILT_IN: Environment<'static> = Templates::load("", BTreeMap::new(), &[]).unwrap().builtin;
}
