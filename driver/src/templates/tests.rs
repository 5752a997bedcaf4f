use proptest::prelude::*;

use super::*;
use crate::message::tests::message;
use crate::message::Message;

fn own(name: &str, source: &str) -> Result<Templates, ConfigError> {
    let folder = std::env::temp_dir().join(format!("pgalert-templates-{}", rand::random::<u64>()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(name), source).unwrap();
    fs::write(folder.join(".email.txt"), "{{ an editor's").unwrap();
    fs::write(folder.join("README"), "{{ for people").unwrap();
    let names: Vec<_> = BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let templates = Templates::load(folder.to_str().unwrap(), BTreeMap::new(), &names);
    fs::remove_dir_all(folder).unwrap();
    templates
}

fn with(change: impl FnOnce(&mut Message)) -> Value {
    let mut message = message();
    change(&mut message);
    context::of(&message, "https://example.com/hook", "")
}

fn fault(name: &str, source: &str) -> String {
    own(name, source).err().expect("it is refused").to_string()
}

#[test]
fn the_users_template_comes_first_and_knows_the_whole_alert() {
    let templates = own(
        "email.subject.txt",
        "[{{ priority }}] {{ alert.condition.value }} {{ alert.none.of.it }}{{ user_id }}",
    )
    .unwrap();
    let context = with(|message| {
        message.alert_data =
            serde_json::value::RawValue::from_string(r#"{"condition": {"value": 30}}"#.into())
                .unwrap();
    });
    assert_eq!(
        templates.forgiving().render("email.subject.txt", &context).unwrap(),
        "[normal] 30 u1"
    );
    assert_eq!(templates.forgiving().render("email.txt", &context).unwrap(), "VIX is 32.5");
    assert_eq!(templates.own(), ["email.subject.txt"]);
}

#[test]
fn what_can_be_seen_without_an_alert_is_refused_at_the_start() {
    assert!(fault("email.txt", "{{ mesage }}").contains("there is no \"mesage\""));
    assert!(fault("email.txt", "{{ message").contains("email.txt"));
    assert!(fault(
        "email.txt",
        "{% for a in range(3) %}{{ loop.index }}{{ a }}{{ b }}{% endfor %}"
    )
    .contains("there is no \"b\""));
    assert!(fault("emial.txt", "x").contains("no channel uses template"));
}

#[test]
fn what_fails_with_an_alert_is_sent_as_the_builtin_has_it() {
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", // fuel
        "{% for a in range(999) %}{{ message * 2000 }}{% endfor %}",                    // size
        "{{ 'a\nb' | indent(1000000000000) }}",                                         // memory
        "{% block x %}{{ self.x() }}{% endblock %}",                                    // depth
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% include 'email.txt' %}",
        "{{ message.nothing() }}",
        "{{ message | shout }}",
    ] {
        let templates = own("email.txt", source).unwrap();
        assert!(templates.strict().render("email.txt", &with(|_| ())).is_err(), "{source}");
        assert_eq!(
            templates.forgiving().render("email.txt", &with(|_| ())).unwrap(),
            "VIX is 32.5"
        );
    }
    let templates = own("slack.json", r#"{"text": "{{ message }}"}"#).unwrap();
    let fault = templates.strict().render("slack.json", &with(|_| ())).unwrap_err().text();
    assert!(fault.contains("did not render to JSON"), "{fault}");
    assert!(templates.forgiving().render("slack.json", &with(|_| ())).unwrap().contains("blocks"));
}

#[test]
fn a_body_of_the_configuration_without_a_builtin_is_a_permanent_error() {
    let bodies = [("pushover.json".to_owned(), r#"{"message": oops}"#.to_owned())];
    let templates = Templates::load("", bodies.into(), &[]).unwrap();
    let error = templates.forgiving().render("pushover.json", &with(|_| ())).unwrap_err();
    assert_eq!(
        (error.kind, error.class.as_str()),
        (crate::message::ErrorKind::Permanent, "template")
    );
    assert!(error.text().contains("pushover.json"), "{}", error.text());
}

/// Slack refuses a section without one.
#[test]
fn a_message_of_spaces_has_a_text_for_slack() {
    let templates = Templates::load("", BTreeMap::new(), &[]).unwrap();
    for (text, shown) in [("", "VIX above 30"), (" \n\t", "VIX above 30"), (" a ", " a ")] {
        let context = with(|message| message.text = text.into());
        let body = templates.forgiving().render("slack.json", &context).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["blocks"][1]["text"]["text"], shown);
    }
}

/// ntfy takes a message of 4096 bytes in a body of twice that (docs.ntfy.sh/publish), Teams a message of 28 KB
/// (learn.microsoft.com/en-us/microsoftteams/limits-specifications-teams), PagerDuty an event of 512 KB
/// (developer.pagerduty.com/docs/events-api-v2/trigger-events). Others count characters.
#[test]
fn a_body_fits_its_receiver_whatever_its_characters_take() {
    let templates = Templates::load("", BTreeMap::new(), &[]).unwrap();
    let characters = ["x", "\"", "\\", "\n", "\u{1}", "\u{7f}", "<", "é", "\u{2028}", "€", "🔥"];
    let mut pairs = characters.iter().flat_map(|a| characters.iter().map(move |b| (a, b)));
    assert!(pairs.all(|(named, said)| {
        let context = with(|message| {
            message.text = said.repeat(262_144 / said.len());
            message.alert_name = Some(named.repeat(5_000));
            message.alert_id = if named.len() > 1 { named } else { "\"" }.repeat(255);
        });
        let body = |name, limit| {
            let body = templates.forgiving().render(name, &context).unwrap();
            assert!(body.len() <= limit, "{name} has {} bytes of {named:?}, {said:?}", body.len());
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        };
        body("teams.json", 28 * 1024);
        body("pagerduty.json", 512 * 1024);
        body("ntfy.json", 2 * 4096)["message"].as_str().unwrap().len() <= 4096
    }));
}

#[test]
fn a_number_that_no_float_holds_is_printed_as_the_alert_has_it() {
    let digits = "9".repeat(400);
    let context = with(|message| {
        let alert = format!(r#"{{"n": {digits}, "name": "VIX"}}"#);
        message.alert_data = serde_json::value::RawValue::from_string(alert).unwrap();
    });
    let templates = own("email.txt", "{{ alert.name }} {{ alert.n }}").unwrap();
    let text = templates.strict().render("email.txt", &context).unwrap();
    assert_eq!(text, format!("VIX {digits}"));
}

proptest! {
    #[test]
    fn builtins_render_whatever_the_alert_says(
        text in any::<String>(), name in any::<Option<String>>(), id in ".{1,300}", user in any::<Option<String>>(),
        address in any::<String>(), priority in "[a-z]{1,20}",
    ) {
        let templates = Templates::load("", BTreeMap::new(), &[]).unwrap();
        let mut message = message();
        (message.text, message.alert_name, message.alert_id) = (text.clone(), name, id);
        (message.user_id, message.priority) = (user, priority);
        let context = context::of(&message, &address, "");
        for (name, _) in BUILTIN {
            let rendered = templates.forgiving().render(name, &context).unwrap();
            match name.rsplit('.').next() {
                Some("json") => { serde_json::from_str::<serde_json::Value>(&rendered).unwrap(); }
                Some("html") => {
                    // Only the template's own tags are there.
                    prop_assert_eq!(rendered.matches('<').count(), 9, "{}", rendered);
                    prop_assert!(!rendered.replace("&lt;", "").contains("<script"));
                }
                _ => {}
            }
        }
        prop_assert_eq!(templates.forgiving().render("email.txt", &context).unwrap(), text);
    }

    #[test]
    fn no_template_of_a_users_panics(source in "(\\{\\{|\\{%|%\\}|\\}\\}|[ a-z.|()\"'\\[\\]0-9*~+-]|message|alert|for x in|endfor|if|endif|range\\(9\\)|tojson|cut\\(3\\)){0,40}") {
        for name in ["email.txt", "email.html", "slack.json"] {
            if let Ok(templates) = own(name, &source) {
                templates.forgiving().render(name, &with(|_| ())).unwrap();
            }
        }
    }
}
