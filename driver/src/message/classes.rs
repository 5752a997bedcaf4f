//! The classes of errors: stable, for analysis and rules. docs/errors.md says what each means; a test holds it to this list.

/// One of a list, or a family: its name ends in `.*`.
struct Class {
    name: &'static str,
    /// It says that the host is not in order, whatever the message: such failures open a breaker.
    of_the_host: bool,
}

const fn host(name: &'static str) -> Class {
    Class { name, of_the_host: true }
}

const fn message(name: &'static str) -> Class {
    Class { name, of_the_host: false }
}

const CLASSES: &[Class] = &[
    host("connect"),
    host("dns"),
    host("http.5xx"),
    host("smtp.421"),
    host("smtp.auth"),
    host("smtp.session"),
    host("timeout"),
    host("tls"),
    message("bad_address"),
    message("bad_answer"),
    message("bad_message"),
    message("bad_secret"),
    message("blocked_address"),
    message("breaker_open"),
    message("channel_not_configured"),
    message("host_busy"),
    message("http.3xx"),
    message("http.410"),
    message("http.429"),
    message("http.4xx"),
    message("internal"),
    message("no_recipient"),
    message("rate_limited"),
    message("refused"),
    message("secret_refused"),
    message("slack.*"),
    message("smtp.4xx"),
    message("smtp.5xx"),
    message("smtp.client"),
    message("template"),
    message("twilio.*"),
];

fn find(class: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|known| match known.name.strip_suffix('*') {
        Some(family) => class.starts_with(family),
        None => class == known.name,
    })
}

pub fn is_known(class: &str) -> bool {
    find(class).is_some()
}

/// Of a family its name alone: what follows it is the receiver's.
pub fn label(class: &str) -> &'static str {
    find(class).map_or("unknown", |class| class.name.trim_end_matches(".*"))
}

pub fn is_the_hosts(class: &str) -> bool {
    find(class).is_some_and(|class| class.of_the_host)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// The classes of the driver in the page's table; those of the database are in a table of their own.
    #[test]
    fn the_page_lists_each_class_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let page = fs::read_to_string(page).unwrap();
        let driver = page.split("\n## ").next().unwrap();
        let listed: BTreeSet<&str> =
            driver.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let known: BTreeSet<&str> = CLASSES.iter().map(|class| class.name).collect();
        assert_eq!(listed, known);
    }

    /// The labels that the database gives to what it counts: those of the page, of a family its name.
    #[test]
    fn the_database_labels_each_class_of_the_page() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).unwrap();
        let (page, sql) = (read("docs/errors.md"), read("sql/82_metrics.sql"));
        let classes = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let listed: BTreeSet<&str> =
            classes.map(|class| class.strip_suffix(".*").unwrap_or(class)).collect();
        let function = sql.split("FUNCTION _class_label").nth(1).unwrap();
        let function = function.split("$$").nth(1).unwrap();
        let lists = function.split("'{").skip(1).filter_map(|rest| rest.split('}').next());
        let labels: BTreeSet<&str> =
            lists.flat_map(|list| list.split(',')).map(str::trim).collect();
        assert_eq!(labels, listed);
    }

    #[test]
    fn each_class_is_used() {
        let mut text = String::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        sources(&source, &mut text);
        let own = fs::read_to_string(source.join("message/classes.rs")).unwrap();
        for Class { name, .. } in CLASSES {
            let start = format!("\"{}", name.trim_end_matches('*'));
            let uses = text.matches(&start).count() - own.matches(&start).count();
            assert!(uses > 0, "{name}");
        }
    }
}
