//! Subjects and bodies of what is sent: built-in templates, and those of a folder of the user's, which come first.
//!
//! A template never loses an alert: what fails in one of the user's is sent as the built-in one has it, with a warning in
//! the log. Faults that show without an alert (syntax, unknown names) end the program at its start; the others `pgalert
//! check` and `pgalert preview` find.

mod bounds;
pub mod context;
mod filters;

pub use filters::cut;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior};
use serde::de::IgnoredAny;
use thiserror::Error;
use tracing::{debug, warn};

use crate::config::ConfigError;
use crate::message::SendError;

/// Steps of a template of the user's, as minijinja counts them: some tens of milliseconds.
const FUEL: u64 = 500_000;
/// Of macros, blocks, included templates and loops: minijinja's own limit takes more of a thread's stack than there is.
const MAX_DEPTH: usize = 50;
/// What one renders to.
const MAX_RENDERED_BYTES: usize = 1 << 20;
/// Of a template's file.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

macro_rules! builtin {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("builtin/", $name)))),*] };
}
const BUILTIN: &[(&str, &str)] = builtin!(
    "discord.json",
    "email.html",
    "email.subject.txt",
    "email.txt",
    "ntfy.json",
    "pagerduty.json",
    "slack.json",
    "sms.txt",
    "teams.json",
    "telegram.json",
);

/// Why a template gave nothing. Neither names what the alert holds.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("{}{}", .0.kind(), line(.0))]
    Render(minijinja::Error),
    #[error("it did not render to JSON: {0}; values bring their own quotes, as in {{\"text\": {{{{ message }}}}}}")]
    NotJson(serde_json::Error),
    #[error("minijinja panicked in it")]
    Panic,
    #[error("there is no such template")]
    Missing,
}

fn line(error: &minijinja::Error) -> String {
    error.line().map(|line| format!(" in line {line}")).unwrap_or_default()
}

pub struct Templates {
    own: Environment<'static>,
    builtin: Environment<'static>,
}

impl Templates {
    /// From a folder ("" for none) and from `body` keys of the configuration, by template name; the folder's come first.
    /// `names` are those that some channel uses.
    pub fn load(
        folder: &str,
        bodies: BTreeMap<String, String>,
        names: &[String],
    ) -> Result<Self, ConfigError> {
        let mut own = environment();
        own.set_fuel(Some(FUEL));
        for (name, source) in bodies {
            let key = format!("channels.{}.body", name.trim_end_matches(".json"));
            add(&mut own, &name, source, &key)?;
        }
        if !folder.is_empty() {
            read_folder(&mut own, Path::new(folder), names)?;
        }
        let mut builtin = environment();
        for (name, source) in BUILTIN {
            add(&mut builtin, name, (*source).to_owned(), name)?;
        }
        Ok(Self { own, builtin })
    }

    /// Names of the user's own.
    pub fn own(&self) -> Vec<String> {
        let mut names: Vec<_> = self.own.templates().map(|(name, _)| name.to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Asked for each message: the environment's own answer to a name that it does not know is an error, with a text.
    fn owns(&self, name: &str) -> bool {
        self.own.templates().any(|(known, _)| known == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.owns(name) || self.builtin.get_template(name).is_ok()
    }

    /// For what is sent: where the user's template fails, the built-in one is used.
    pub fn forgiving(&self) -> Renderer<'_> {
        Renderer { templates: self, strict: false }
    }

    /// For a look: a fault of the user's template is told.
    pub fn strict(&self) -> Renderer<'_> {
        Renderer { templates: self, strict: true }
    }

    fn render_own(&self, name: &str, context: &Value) -> Result<String, Fault> {
        let template = self.own.get_template(name).map_err(Fault::Render)?;
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            let mut output = Bounded(Vec::new());
            template.render_captured_to(context, &mut output).map(|_| output.0)
        }));
        let output = rendered.map_err(|_| Fault::Panic)?.map_err(Fault::Render)?;
        valid(name, String::from_utf8_lossy(&output).into_owned())
    }

    fn render_builtin(&self, name: &str, context: &Value) -> Result<String, Fault> {
        let template = self.builtin.get_template(name).map_err(Fault::Render)?;
        valid(name, template.render(context).map_err(Fault::Render)?)
    }
}

#[derive(Clone, Copy)]
pub struct Renderer<'a> {
    templates: &'a Templates,
    strict: bool,
}

impl Renderer<'_> {
    pub fn render(&self, name: &str, context: &Value) -> Result<String, SendError> {
        let builtin =
            || self.templates.render_builtin(name, context).map_err(|fault| refused(name, &fault));
        let has_builtin = self.templates.builtin.get_template(name).is_ok();
        self.render_or(name, || context.clone(), has_builtin.then_some(builtin))
    }

    /// With the user's template, else with what is built in, where there is something.
    pub fn render_or(
        &self,
        name: &str,
        context: impl FnOnce() -> Value,
        builtin: Option<impl FnOnce() -> Result<String, SendError>>,
    ) -> Result<String, SendError> {
        let own = self.templates.owns(name);
        let rendered = own.then(|| self.templates.render_own(name, &context()));
        match (rendered, builtin) {
            (Some(Ok(text)), _) => Ok(text),
            (Some(Err(fault)), Some(builtin)) if !self.strict => {
                warn!(template = name, %fault, "this template failed: what is built in is used");
                debug!(template = name, ?fault, "what failed");
                builtin()
            }
            (Some(Err(fault)), _) => Err(refused(name, &fault)),
            (None, Some(builtin)) => builtin(),
            (None, None) => Err(refused(name, &Fault::Missing)),
        }
    }
}

fn refused(name: &str, fault: &Fault) -> SendError {
    SendError::permanent("template", format!("template {name}: {fault}"))
}

/// What prints a field that the alert does not have prints nothing: alerts differ.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_recursion_limit(MAX_DEPTH);
    bounds::add(&mut environment);
    environment.add_filter("cut", filters::cut);
    environment.add_filter("mrkdwn", filters::mrkdwn);
    environment
}

fn add(
    environment: &mut Environment<'static>,
    name: &str,
    source: String,
    origin: &str,
) -> Result<(), ConfigError> {
    let bad = |reason: String| ConfigError::Invalid(format!("template {origin}: {reason}"));
    environment
        .add_template_owned(name.to_owned(), source)
        .map_err(|error| bad(format!("{error:#}")))?;
    let template = environment.get_template(name).map_err(|error| bad(error.to_string()))?;
    let mut unknown: Vec<_> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|name| !context::NAMES.contains(&name.as_str()))
        .filter(|name| !environment.globals().any(|(global, _)| global == name))
        .collect();
    unknown.sort_unstable();
    match unknown.first() {
        Some(unknown) => Err(bad(format!(
            "there is no \"{unknown}\"\nhint: there are {}; the alert's own fields are alert.<field>",
            context::NAMES.join(", ")
        ))),
        None => Ok(()),
    }
}

/// A name that no channel uses would have no effect: it is an error. Other kinds of files are of no interest.
fn read_folder(
    environment: &mut Environment<'static>,
    folder: &Path,
    names: &[String],
) -> Result<(), ConfigError> {
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |cause| ConfigError::Unreadable { path, cause }
    };
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let template = [".txt", ".html", ".json"].iter().any(|extension| name.ends_with(extension));
        if name.starts_with('.') || !template {
            continue;
        }
        let shown = path.display().to_string();
        if !names.iter().any(|known| known == name) {
            return Err(ConfigError::Invalid(format!(
                "no channel uses template {shown}\nhint: there are {}",
                names.join(", ")
            )));
        }
        let size = fs::metadata(&path).map_err(unreadable(&path))?.len();
        if size > MAX_TEMPLATE_BYTES {
            return Err(ConfigError::Invalid(format!("template {shown} is larger than 1 MiB")));
        }
        let source = fs::read_to_string(&path).map_err(unreadable(&path))?;
        environment.remove_template(name);
        add(environment, name, source, &shown)?;
    }
    Ok(())
}

fn valid(name: &str, text: String) -> Result<String, Fault> {
    if name.ends_with(".json") {
        serde_json::from_str::<IgnoredAny>(&text).map_err(Fault::NotJson)?;
    }
    Ok(text)
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_BYTES {
            return Err(io::Error::other("it renders to more than 1 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
