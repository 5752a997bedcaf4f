//! What receivers take, as JSON schemas: our own of their documentation (tests/e2e/schemas), which know each limit, and those
//! that Slack and Twilio publish, which know each name and type. tests/setup.sh brings the latter.

use std::path::Path;

use e2e::tools::repository;
use jsonschema::Validator;
use serde_json::Value;

/// Where Twilio's OpenAPI document describes a new message, and the form in which it is sent.
pub const TWILIO_PATH: &str = "/2010-04-01/Accounts/{AccountSid}/Messages.json";
const TWILIO_FORM: &str = "/requestBody/content/application~1x-www-form-urlencoded/schema";

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; tests/setup.sh brings it", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Holds a body against our own schema of a receiver.
pub fn check(name: &str, body: &Value) {
    let path = repository().join("tests/e2e/schemas").join(format!("{name}.json"));
    accept(&jsonschema::validator_for(&read(&path)).unwrap(), body);
}

pub fn accept(schema: &Validator, body: &Value) {
    let faults: Vec<String> = schema
        .iter_errors(body)
        .map(|fault| format!("{} at {}", fault, fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:?}\n{body:#}");
}

/// A type of tests/e2e/schemas/published/slack.ts.
pub fn of_slack(name: &str) -> Validator {
    let mut schema = read(&repository().join("target/published/slack.json"));
    assert!(schema["definitions"][name].is_object(), "{name}");
    schema["$ref"] = format!("#/definitions/{name}").into();
    jsonschema::validator_for(&schema).unwrap()
}

/// A form that creates a message, and the account in its path. OpenAPI lets further fields pass; they are refused here.
pub fn of_twilio() -> (Validator, Validator) {
    let document = read(&repository().join("target/published/twilio.json"));
    let operation = &document["paths"][TWILIO_PATH]["post"];
    let mut form = operation.pointer(TWILIO_FORM).unwrap().clone();
    form["additionalProperties"] = false.into();
    form["components"] = document["components"].clone();
    let account = &operation["parameters"][0];
    assert_eq!(account["name"], "AccountSid");
    [&form, &account["schema"]].map(|schema| jsonschema::validator_for(schema).unwrap()).into()
}
