//! The command line of `pgalert dlq`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{json, Map, Value};
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters
    List {
        #[command(flatten)]
        filter: Filter,
        #[arg(long, value_enum, default_value = "newest")]
        sort: Sort,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one: what was to be sent, to whom, and each attempt
    Show {
        id: Uuid,
        #[arg(long)]
        json: bool,
    },
    /// Give letters one more attempt at once, whatever their state
    Retry {
        #[command(flatten)]
        which: Which,
        /// 1 % first, then 10 %, then all of them; stops when too many of a step fail
        #[arg(long, requires = "all")]
        gradual: bool,
        /// The share of a step that may fail
        #[arg(long, value_name = "SHARE", default_value_t = 0.1, requires = "gradual")]
        max_failure_share: f64,
        /// Why, for the operator_log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Remove letters for good: nobody is sent them
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why, for the operator_log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Change what a letter will send; without --message and --channels in $VISUAL or $EDITOR, as JSON
    Edit {
        id: Uuid,
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// Which are still owed, with commas between
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        channels: Vec<String>,
        /// Why, for the operator_log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Write letters as JSON lines, as `import` reads them
    Export {
        #[command(flatten)]
        filter: Filter,
        /// A new file, readable by you alone [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read what `export` wrote; letters that are there already are skipped
    Import {
        /// "-" is standard input
        file: PathBuf,
    },
    /// List who did what by hand, the newest first
    Log {
        #[command(flatten)]
        filter: ActionFilter,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Count letters by state and by kind of error
    Stats {
        #[command(flatten)]
        filter: Filter,
        #[arg(long)]
        json: bool,
    },
}

/// Letters by their ids, or all that match.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
pub struct Which {
    /// Ids, as `list` shows them
    #[arg(value_name = "ID", conflicts_with = "Filter")]
    pub ids: Vec<Uuid>,
    /// All that match the filters, in transactions of 1,000
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: Filter,
    /// Say how many, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Which letters; all that is given must hold.
#[derive(Debug, Args)]
pub struct Filter {
    /// May be given several times
    #[arg(long, value_enum, value_delimiter = ',')]
    state: Vec<State>,
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Such as http.5xx (see docs/errors.md); may be given several times
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    error_class: Vec<String>,
    #[arg(long, value_name = "ALERT_ID")]
    alert: Option<String>,
    #[arg(long, value_name = "USER_ID")]
    user: Option<String>,
    /// Such as "1 hour"
    #[arg(long, value_name = "INTERVAL")]
    older_than: Option<String>,
    /// Such as "7 days"
    #[arg(long, value_name = "INTERVAL")]
    newer_than: Option<String>,
}

/// Which actions; all that is given must hold.
#[derive(Debug, Args)]
pub struct ActionFilter {
    /// Who acted; may be given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    operator: Vec<String>,
    /// Such as retry, discard or edit; may be given several times
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    action: Vec<String>,
    /// With this letter alone
    #[arg(long, value_name = "ID")]
    letter: Option<Uuid>,
    /// Such as "1 hour"
    #[arg(long, value_name = "INTERVAL")]
    older_than: Option<String>,
    /// Such as "7 days"
    #[arg(long, value_name = "INTERVAL")]
    newer_than: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub enum State {
    Waiting,
    Queued,
    Exhausted,
    Permanent,
    Expired,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Sort {
    Newest,
    Oldest,
    /// Waiting ones alone
    NextRetry,
}

impl State {
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Queued, Self::Exhausted, Self::Permanent, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Expired => "expired",
        }
    }
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::NextRetry => "next_retry",
        }
    }
}

impl Filter {
    /// As the SQL functions take it.
    pub fn object(&self) -> Value {
        let mut filter = Map::new();
        let texts = [
            ("channel", &self.channel),
            ("alert_id", &self.alert),
            ("user_id", &self.user),
            ("older_than", &self.older_than),
            ("newer_than", &self.newer_than),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                filter.insert(key.into(), json!(text));
            }
        }
        if !self.state.is_empty() {
            filter.insert("state".into(), names(self.state.iter().copied()));
        }
        if !self.error_class.is_empty() {
            filter.insert("error_class".into(), json!(self.error_class));
        }
        Value::Object(filter)
    }

    /// The states meant, all where none is given.
    pub fn states(&self) -> Vec<State> {
        if self.state.is_empty() {
            State::ALL.to_vec()
        } else {
            self.state.clone()
        }
    }
}

impl ActionFilter {
    /// As `list_actions()` takes it.
    pub fn object(&self) -> Value {
        let lists = [("operator", &self.operator), ("action", &self.action)];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let letter = self.letter.map(|id| id.to_string());
        let texts = [
            ("dlq_id", &letter),
            ("older_than", &self.older_than),
            ("newer_than", &self.newer_than),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, json!(text.as_ref()?))));
        let pairs = lists.map(|(key, names)| (key, json!(names))).chain(texts);
        Value::Object(pairs.map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

impl Which {
    /// As the SQL functions take it.
    pub fn object(&self) -> Value {
        let mut filter = self.filter.object();
        if !self.all {
            filter["ids"] = json!(self.ids);
        }
        filter
    }

    /// The same without the letters that are queued, which an act passes over: to count what it would do.
    pub fn countable(&self) -> Value {
        let mut filter = self.object();
        filter["state"] =
            names(self.filter.states().into_iter().filter(|state| *state != State::Queued));
        filter
    }
}

fn names(states: impl Iterator<Item = State>) -> Value {
    states.map(State::name).collect()
}
